"""Starting the service: one process, one torch thread, JSON logs."""

import gc
import logging
import socket
import sys
from pathlib import Path

import uvicorn

from core.environment import limit_threads
from core.errors import ServiceError
from serving.app import create_app
from serving.logs import log_as_json
from serving.settings import Settings
from serving.tokens import SCOPES, Tokens

_log = logging.getLogger(__name__)

GARBAGE = 20_000
"""Objects made before the garbage collector looks at the young ones; requests leave hardly any cycles behind."""
SWITCH_SECONDS = 0.001
"""How long a thread may keep the interpreter from others that wait: the loop that takes requests in waits for no whole group."""


def serve(root: Path, *, host: str | None = None, port: int | None = None, bundles: Path | None = None) -> None:
    """Serve until the process is told to stop.

    Args:
        root: the project's folder.
        host: the address to bind; params.yaml's when None.
        port: params.yaml's when None.
        bundles: a folder of bundles to serve instead of the registry's champions.

    Raises:
        ServiceError: there is no such folder, the port is in use, the database cannot be opened, or others could ask without a token.
        ParamsError: params.yaml is wrong.
    """
    if bundles is not None and not bundles.is_dir():
        raise ServiceError(f"--bundles {str(bundles)!r}: no such folder. Name one with a bundle of each kind in it, such as data/models.")
    settings = Settings.of_project(root, bundles=bundles)
    run(settings, host=host or settings.params.host, port=port or settings.params.port)


def run(settings: Settings, *, host: str, port: int) -> None:
    """Serve what the settings say until the process is told to stop.

    Args:
        settings: where everything is.
        host: the address to bind.
        port: the port.

    Raises:
        ServiceError: the port is in use, the database cannot be opened, or other machines could ask without a token.
    """
    check_host(host, settings.tokens)
    limit_threads(1)
    log_as_json()
    bound = _bind(host, port)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(GARBAGE)
    app = create_app(settings)
    _log.info("serving on http://%s:%d, console at /console, reference at /docs", host, port)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=10))
    server.run(sockets=[bound])


def check_host(host: str, tokens: Tokens) -> None:
    """A service that other machines can reach has tokens.

    Args:
        host: the address to bind.
        tokens: who may ask.

    Raises:
        ServiceError: it has none.
    """
    if not tokens and host not in ("localhost", "::1") and not host.startswith("127."):
        raise ServiceError(
            f"{host} can be reached from other machines, and the service has no tokens: set {', '.join(SCOPES.values())} "
            "(openssl rand -hex 32 makes one), or serve on 127.0.0.1."
        )


def _bind(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ServiceError(
            f"port {port} on {host} cannot be had ({error.strerror}): stop what uses it, or give another with --port."
        ) from None
    return bound
