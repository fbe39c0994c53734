"""The shop that the service is measured in: champions of a small market, 20,000 shoppers, 50 candidates for every request."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns as C
from core.files import read_json, read_table, write_json, write_table
from core.identity import DEVELOPMENT_KEY, pseudonymise
from core.params import load_params
from core.schemas import arrow_schema
from core.stage import PARAMS_FILE
from core.vocabulary import CHANNELS, SCENES
from models.bundle import save_arrays, writing_bundle
from models.embeddings import Embeddings
from models.generator.bundle import GeneratorBundle, make_reviewer
from models.generator.facts import fit_facts
from models.generator.request import requests_of
from models.generator.template import TemplateGenerator
from models.generator.vocabulary import SPECIALS, Vocabulary
from serving.settings import CleanData, Settings

VERSION = 1
"""Of what `build` writes; another one is built anew."""
CREATIVES = 2
"""Creatives for each item, scene and channel: as many as retrieval takes."""
CLEAN = ("lineage.json", "events.parquet", "impressions.parquet", "copies.parquet")


@dataclass(frozen=True)
class Shop:
    """A folder with bundles (``models``), clean tables (``clean``) and the service's database (``live``).

    Attributes:
        folder: holds them.
        shoppers: raw ids that requests name.
    """

    folder: Path
    shoppers: int

    def settings(self) -> Settings:
        """The service's settings, with the parameters of this project's params.yaml."""
        params = load_params(Path(PARAMS_FILE)).serving
        data = CleanData(*(self.folder / "clean" / name for name in CLEAN))
        database = self.folder / "live" / "serving.sqlite"
        return Settings(self.folder, params, timedelta(days=3), data, database, self.folder / "fetched", self.folder / "models")


def shopper_id(number: int) -> str:
    """The raw id that a request names.

    Args:
        number: of the shopper, from 0.
    """
    return f"shopper-{number}"


def build(root: Path, folder: Path, *, shoppers: int, fresh: bool = False) -> Shop:
    """The shop; what is there already is used again.

    Args:
        root: the project, whose committed state trains the champions.
        folder: where everything is written.
        shoppers: how many.
        fresh: build anew even when it is there.

    Raises:
        CalledProcessError: a stage of the loop failed; its output is on stderr.
    """
    note, wanted = folder / "shop.json", {"version": VERSION, "shoppers": shoppers}
    if not fresh and note.exists() and read_json(note) == wanted:
        return Shop(folder, shoppers)
    note.unlink(missing_ok=True)
    project = train(root, folder / "project")
    for name in ("models", "clean", "live"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for kind in ("recommender", "ranker"):
        shutil.copytree(project / "data" / "models" / kind, folder / "models" / kind)
    write_pool(project / "data", folder / "models" / "pool")
    write_generator(project / "data", folder / "models" / "generator")
    _write_clean(project / "data" / "clean", folder / "clean", shoppers)
    write_json(wanted, note)
    return Shop(folder, shoppers)


def train(root: Path, project: Path, overrides: Sequence[str] = ()) -> Path:
    """The stages up to the ranker, profile ci, in a clone of the committed project; encoded texts are shared.

    Args:
        root: the project.
        project: where the clone is or will be.
        overrides: ``section.key=value`` over the profile.

    Returns:
        ``project``.

    Raises:
        CalledProcessError: a stage failed; its output is on stderr.
    """
    if not (project / ".git").exists():
        project.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["git", "clone", "--quiet", str(root), str(project)], check=True)
    subprocess.run(["git", "fetch", "--quiet"], cwd=project, check=True)
    subprocess.run(["git", "reset", "--quiet", "--hard", "origin/HEAD"], cwd=project, check=True)
    cache = root / "data" / "cache"
    if cache.exists() and not (project / "data" / "cache").exists():
        shutil.copytree(cache, project / "data" / "cache")
    environment = os.environ | {
        "PYTHONPATH": str(project),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{project / 'mlruns' / 'mlflow.db'}",
    }
    profile = f"from flows.overrides import apply_overrides; apply_overrides({list(overrides)!r}, profile='ci')"
    for command in (["-c", profile], ["-m", "dvc", "repro", "--quiet", "train_ranker"]):
        subprocess.run([sys.executable, *command], cwd=project, check=True, env=environment, stdout=sys.stderr)
    return project


def write_pool(data: Path, pool: Path) -> None:
    """Every item's own human copies in every scene and channel: two a place, those that were written for the place first.

    Args:
        data: of the trained project.
        pool: the bundle's folder.
    """
    copies, items = read_table(data / "clean" / "copies.parquet"), read_table(data / "clean" / "items.parquet")
    by_item: dict[str, pd.DataFrame] = {str(item): held for item, held in copies.groupby(C.ITEM, sort=True)}
    rows = []
    for item in items[C.ITEM].astype(str):
        for scene in SCENES:
            for channel in CHANNELS:
                held = by_item[item]
                fit = 2 * (held[C.CHANNEL] == channel).to_numpy() + (held[C.SCENE] == scene).to_numpy()
                for place in np.argsort(-fit, kind="stable")[:CREATIVES].tolist():
                    copy = str(held[C.COPY].iloc[place])
                    rows.append((f"{copy}-{scene}-{channel}", item, scene, channel, str(held[C.TEXT].iloc[place]), "human"))
    table = pd.DataFrame(rows, columns=[C.CREATIVE, C.ITEM, C.SCENE, C.CHANNEL, C.TEXT, C.ORIGIN])
    nobody = pd.Series([None] * len(table), dtype="str")
    table = table.assign(**{C.AUDIENCE: nobody, C.GENERATOR_VERSION: "benchmark", C.QUALITY: 1.0, C.VERDICT: "passed", C.AI_LABEL: False})
    known = Embeddings.load(data / "features" / "embeddings")
    with writing_bundle(pool, "pool", {}) as draft:
        write_table(table, draft / "creatives.parquet", arrow_schema("creatives"))
        write_table(items, draft / "items.parquet", arrow_schema("items"))
        shutil.copyfile(data / "clean" / "campaigns.parquet", draft / "campaigns.parquet")
        save_arrays({"vectors": known.vectors_of(table[C.TEXT].tolist())}, draft / "vectors.safetensors")


def write_generator(data: Path, generator: Path) -> None:
    """The template alone: nothing is written under load.

    Args:
        data: of the trained project.
        generator: the bundle's folder.
    """
    products = list(requests_of(read_table(data / "clean" / "items.parquet")).values())
    vocabulary = Vocabulary(SPECIALS)
    reviewer = make_reviewer(fit_facts(products, [], []), [], vocabulary, levels=[], targets={}, max_copied_span=20)
    GeneratorBundle({"template": TemplateGenerator()}, "template", reviewer, (), {}).save(generator)


def _write_clean(clean: Path, target: Path, shoppers: int) -> None:
    """The market's shoppers over and over under other names, each with nine tenths of what the first one did and saw."""
    rng = np.random.default_rng(20)
    target.mkdir(parents=True)
    shutil.copyfile(clean / "copies.parquet", target / "copies.parquet")
    lineage = read_json(clean / "lineage.json")
    write_json({**lineage, "data_version": f"{lineage['data_version'][:32]}-{shoppers}"}, target / "lineage.json")
    names = np.array(pseudonymise([shopper_id(number) for number in range(shoppers)], DEVELOPMENT_KEY), dtype=object)
    events = read_table(clean / "events.parquet")
    users = sorted(events[C.USER].unique())
    for name, key in (("events", C.EVENT), ("impressions", C.REQUEST)):
        held = read_table(clean / f"{name}.parquet")
        write_table(_again(held, users, names, key, rng), target / f"{name}.parquet", arrow_schema(name))


def _again(held: pd.DataFrame, users: Sequence[str], names: np.ndarray, key: str, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of a few users, repeated for every name in turn."""
    place = pd.Index(users).get_indexer(pd.Index(held[C.USER]))
    parts = []
    for turn in range(-(-len(names) // len(users))):
        number = turn * len(users) + place
        kept = (place >= 0) & (number < len(names)) & (rng.random(len(held)) < 0.9)
        part = held[kept].copy()
        part[C.USER] = names[number[kept]]
        part[key] = part[key].astype(str) + f"-{turn}"
        parts.append(part)
    return pd.concat(parts, ignore_index=True).astype({C.USER: "str"})
