"""The peer: `mlflow models serve` with the same weights, asked about candidates that the service has just scored."""

import json
import shutil
import sqlite3
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.columns import Columns as C
from core.files import read_table
from models.bundle import load_arrays
from models.features import Candidates, Requests
from models.ranker import RankerBundle
from serving.database import Database
from serving.state import OnlineState


@dataclass(frozen=True)
class Logged:
    """A decision of the service, as the peer is asked about it.

    Attributes:
        features: ``(candidates, f)``.
        shown: places of what was shown among the candidates, by position.
        p_click: what the service logged for each of them.
    """

    features: NDArray[np.float32]
    shown: list[int]
    p_click: list[float]


def logged(database: Path, bundles: Path, *, requests: int, max_events: int) -> list[Logged]:
    """Features of the candidates of the service's latest decisions, computed again from its log.

    Args:
        database: the service's, closed.
        bundles: what it served.
        requests: how many decisions.
        max_events: latest events that were read of a shopper.
    """
    ranker = RankerBundle.load(bundles / "ranker")
    pool = read_table(bundles / "pool" / "creatives.parquet").set_index(C.CREATIVE)
    first = ~pool[C.TEXT].duplicated().to_numpy()
    raw = load_arrays(bundles / "pool" / "vectors.safetensors")["vectors"]
    ranker.remember(pool[C.TEXT][first].astype(str).tolist(), ranker.recommender.encoder.centre(raw[first]))
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT request_id, user_id, timestamp, scene, channel, candidates FROM decisions WHERE position = 0 ORDER BY seq DESC LIMIT ?",
            (requests,),
        ).fetchall()
        shown = {
            row[0]: connection.execute(
                "SELECT creative_id, p_click FROM decisions WHERE request_id = ? ORDER BY position", (row[0],)
            ).fetchall()
            for row in rows
        }
    held = Database(database)
    state = OnlineState(held, max_events=max_events)
    found = []
    for request_id, user, moment, scene, channel, names in rows:
        candidates = json.loads(names)
        items, texts = (pool.loc[candidates, name].astype(str).tolist() for name in (C.ITEM, C.TEXT))
        request = Requests.one(
            state.history(user, moment), scene=scene, channel=channel, timestamp=moment, responses=state.responses(user, moment)
        )
        features, _ = ranker.features(request, Candidates.one(items, texts))
        places = [candidates.index(creative) for creative, _ in shown[request_id]]
        found.append(Logged(features, places, [float(p_click) for _, p_click in shown[request_id]]))
    held.close()
    return found


def write_model(bundles: Path, folder: Path, features: int) -> None:
    """Save the ranker as an MLflow model with a tensor signature.

    Args:
        bundles: hold the ranker.
        folder: to write.
        features: columns of a row.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it misses an input example and type hints; the signature says it all
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import save_model
        from mlflow.types import Schema, TensorSpec

        inputs = Schema([TensorSpec(np.dtype(np.float32), (-1, features))])
        outputs = Schema([TensorSpec(np.dtype(np.float64), (-1, 2))])
        save_model(
            path=str(folder),
            python_model=str(Path(__file__).with_name("peer_model.py")),
            artifacts={"ranker": str(bundles / "ranker")},
            signature=ModelSignature(inputs=inputs, outputs=outputs),
            pip_requirements=["mlflow"],
        )


def body(features: NDArray[np.float32]) -> bytes:
    """A request for `/invocations`, as MLflow's documentation writes it.

    Args:
        features: ``(candidates, f)``.
    """
    return json.dumps({"inputs": features.tolist()}).encode()


def command(folder: Path, port: int) -> list[str]:
    """The command that serves it: one worker, this environment.

    Args:
        folder: of `write_model`.
        port: on loopback.
    """
    mlflow = Path(sys.executable).with_name("mlflow")
    serve = [str(mlflow), "models", "serve", "--model-uri", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    return [*serve, "--workers", "1", "--env-manager", "local"]
