"""The gates between challenger and champion (docs/architecture.md): what is compared, on what, and what suffices."""
