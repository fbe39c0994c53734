"""Adloom beside its peers, one table a benchmark."""

from core.environment import prepare_environment, project_root

prepare_environment(project_root())  # before a benchmark loads what reads it
