"""Filling the creative pool: what is said of candidates, and what is kept."""
