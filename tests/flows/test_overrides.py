"""`-S` means what it means to DVC; a profile leads there and back."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import ParamsError
from core.params import load_params
from core.yaml_settings import read_yaml
from flows.overrides import apply_overrides, profile_values

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "profiles.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return Path("params.yaml")


def test_an_override_is_written_into_params_yaml_and_comments_stay(params: Path) -> None:
    changes = apply_overrides(["market.shoppers=123", "train_recommender.learning_rate=1e-4"], params=params)
    assert {change.key for change in changes} == {"market.shoppers", "train_recommender.learning_rate"}
    found = load_params(params)
    assert found.market.shoppers == 123
    assert found.train_recommender.learning_rate == pytest.approx(1e-4)
    before = (ROOT / "params.yaml").read_text()
    assert [line for line in before.splitlines() if "#" in line] == [line for line in params.read_text().splitlines() if "#" in line]


def test_an_override_changes_its_own_line_and_no_other(params: Path) -> None:
    before = params.read_text()
    turned = {
        "seed": ("7", "12"),
        "path": ("null", "own/log"),
        "start": ('"2026-09-21"', '"2026-01-05"'),
        "guidance_steps": ("[1.0]", "[1.0, 2.0]"),
    }
    sections = {"seed": "", "path": "collect.", "start": "market.", "guidance_steps": "generate."}
    apply_overrides([f"{sections[key]}{key}={new}" for key, (_, new) in turned.items()], params=params)
    expected = before
    for key, (old, new) in turned.items():
        expected = expected.replace(f"{key}: {old}", f"{key}: {new}", 1)
    assert params.read_text() == expected
    apply_overrides(["collect.path=null", "seed=7", "market.start='2026-09-21'", "generate.guidance_steps=[1.0]"], params=params)
    assert params.read_text() == before


def test_an_override_writes_the_values_that_dvc_writes(project: Path, make_project: Callable[[str], Path], dvc: Callable[..., str]) -> None:
    from flows.overrides import _override, _restore_layout

    twin, held = make_project("twin"), (project / "params.yaml").read_text()
    dvc(twin, "exp", "run", "-S", "fit.rate=1e-2", "-S", "gather.rows=4")
    _override(["fit.rate=1e-2", "gather.rows=4"], Path("params.yaml"))
    assert (project / "params.yaml").read_bytes() == (twin / "params.yaml").read_bytes()
    _restore_layout(Path("params.yaml"), held)
    assert repr(read_yaml(project / "params.yaml")) == repr(read_yaml(twin / "params.yaml"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("market.shopers=5", "shopers"),
        ("market.shoppers=many", "shoppers"),
        ("market.shoppers=1,2", "sweep"),
        ("other.yaml:a.b=1", "only params.yaml"),
        ("market.shoppers", "section.key=value"),
    ],
)
def test_a_wrong_override_is_explained_and_leaves_params_yaml_alone(params: Path, override: str, message: str) -> None:
    before = params.read_bytes()
    with pytest.raises(ParamsError, match=message):
        apply_overrides([override], params=params)
    assert params.read_bytes() == before


def test_a_profile_leads_there_and_default_leads_back(params: Path) -> None:
    before = read_yaml(params)
    apply_overrides(profile="ci", params=params)
    assert read_yaml(params)["market"]["shoppers"] == read_yaml(ROOT / "profiles.yaml")["ci"]["market"]["shoppers"]
    apply_overrides(profile="default", params=params)
    assert read_yaml(params) == before


def test_the_default_profile_equals_the_committed_parameters() -> None:
    shown = subprocess.run(["git", "show", "HEAD:params.yaml"], cwd=ROOT, capture_output=True, text=True, check=False)
    committed = ROOT / "params.yaml" if shown.returncode else None
    from ruamel.yaml import YAML

    values = read_yaml(committed) if committed else YAML(typ="safe", pure=True).load(shown.stdout)
    for section, keys in profile_values("default", ROOT / "profiles.yaml").items():
        for key, value in keys.items():
            assert values[section][key] == value, f"{section}.{key}"


def test_default_holds_every_key_that_another_profile_turns() -> None:
    profiles = read_yaml(ROOT / "profiles.yaml")
    default = {(section, key) for section, keys in profiles["default"].items() for key in keys}
    for name, sections in profiles.items():
        assert {(section, key) for section, keys in sections.items() for key in keys} <= default, name


def test_an_unknown_profile_names_the_known_ones(params: Path) -> None:
    with pytest.raises(ParamsError, match="default, ci"):
        apply_overrides(profile="huge", params=params)
