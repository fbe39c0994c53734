"""Judges: a bundle and a held-out window in, one row a user or request out. `evaluate` and `promote` score with the same ones."""
