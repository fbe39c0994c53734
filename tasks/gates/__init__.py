"""The gates between challenger and champion: what is compared, on what, and what suffices."""
