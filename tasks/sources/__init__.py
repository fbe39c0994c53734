"""Readers that bring raw behaviour, catalogues, copy and logged ads under our column names."""
