"""The HTTP service: decisions, events, creatives."""
