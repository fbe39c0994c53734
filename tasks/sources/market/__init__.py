"""The embedded source: a simulated Chinese marketplace with known truth."""
