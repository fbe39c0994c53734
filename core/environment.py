"""What must be in the environment before any heavy library is imported; needs nothing but the standard library."""

import os
import sys
import warnings
from collections.abc import MutableMapping
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS")
"""Read by numerical libraries when they are loaded; the floating-point sums of several threads depend on their number."""


def project_root(folder: Path | None = None) -> Path:
    """The project's folder; inside a temporary copy that `dvc exp run --temp` made, the folder that it is a copy of.

    Args:
        folder: the working folder; the current one when None.

    Returns:
        An absolute path.
    """
    here = (folder or Path.cwd()).resolve()
    for parent in (here, *here.parents):
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return here


def prepare_environment(root: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what Prefect, MLflow and DVC read at import, where the user has not set it: quiet, local, no telemetry.

    Args:
        root: the project's folder.
        environment: the mapping to fill; the process's own unless a test gives another.
    """
    defaults = {
        "PREFECT_HOME": str(root / ".prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "10",  # with 60, a run due within a minute is missed
        "PREFECT_WORKER_QUERY_SECONDS": "5",
        "DO_NOT_TRACK": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # with 7, a server that is not there is noticed after minutes
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
        "DVC_NO_ANALYTICS": "true",
        "TOKENIZERS_PARALLELISM": "false",
        "GIT_PYTHON_REFRESH": "quiet",
        "THP_MEM_ALLOC_ENABLE": "1",  # torch asks for huge pages: else most of the time of a large tensor goes into mapping small ones
        "GOMP_SPINCOUNT": "2000",  # threads that wait for ever-busy cores cost tenfold as soon as another program runs beside
    }
    if not sys.stderr.isatty():
        defaults["TQDM_MININTERVAL"] = "10"  # a log wants a line now and then, not every frame of a progress bar
    for name, value in defaults.items():
        environment.setdefault(name, value)
    scripts = str(Path(sys.prefix) / ("Scripts" if os.name == "nt" else "bin"))
    folders = environment.get("PATH", "").split(os.pathsep)
    if folders[0] != scripts:  # the commands of dvc.yaml say `python`, and it must be this one
        environment["PATH"] = os.pathsep.join([scripts, *[folder for folder in folders if folder and folder != scripts]])


def limit_threads(threads: int) -> None:
    """Give every numerical library the same number of threads, whether it is loaded already or later.

    Args:
        threads: at least 1.

    Raises:
        ValueError: threads is below 1.
    """
    if threads < 1:
        raise ValueError(f"threads is {threads}; it must be at least 1")
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    if "numpy" in sys.modules or "torch" in sys.modules:
        from threadpoolctl import threadpool_limits

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # it warns that two OpenMP runtimes are loaded, as wheels do
            threadpool_limits(limits=threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
