"""Adloom beside its peers, one table a benchmark."""
