"""What every test runs under: one thread, quiet tools, no server of the user's."""

import os
from pathlib import Path

from core.environment import THREAD_VARIABLES, prepare_environment

for name in THREAD_VARIABLES:
    os.environ[name] = "1"
for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "ADLOOM_NOTIFY_URL", "ADLOOM_USER_KEY"):
    os.environ.pop(name, None)
prepare_environment(Path(__file__).parents[1])
