"""Prefect flows: compose stages, schedule, retry, notify. Compute nothing."""
