"""The report page: what `evaluate` found, on one self-contained HTML page."""
