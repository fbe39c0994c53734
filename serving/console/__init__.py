"""The console: one page on which people see what the service shows, why, and what came of it, and block what must not be shown."""
