"""The stages: one file a stage, each a pure function of its arguments."""
