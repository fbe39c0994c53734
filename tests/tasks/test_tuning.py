"""A search tries the present parameters first, reads the validation window alone, and goes on where it was killed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from synthetic import TRAIN_END, VALIDATION_END, networkless_encoder, shop_events, shop_items, text_vectors

from core.columns import Columns
from core.errors import ParamsError, TrainingError
from core.files import read_table, write_json, write_table
from core.params import Params, load_params
from core.tracking import NullTracker, Tracker
from core.vocabulary import Target
from core.yaml_settings import read_yaml
from flows.overrides import apply_overrides
from models.embeddings import Embeddings
from models.ranker.training import Rows
from models.text import item_texts
from tasks.train_ranker import Learnable
from tasks.train_recommender import RecommenderInputs
from tasks.tuning import RankerObjective, RecommenderObjective, Search, Value, objective_of, write_fragment

ROOT = Path(__file__).parents[2]
PARAMS = load_params(ROOT / "params.yaml")


def tiny(params: Params) -> Params:
    small = params.train_recommender.model_copy(update={"epochs": 1, "dim": 8, "max_events": 6, "layers": 1, "negatives": 8})
    return params.model_copy(update={"train_recommender": small})


@dataclass(frozen=True)
class Bowl:
    """Worth the more, the nearer dropout is to 0.3; a dim of 128 diverges."""

    file: Path
    metric: str = "height"
    higher_is_better: bool = True
    tried: list[Mapping[str, Value]] = field(default_factory=list)

    def files(self) -> list[Path]:
        return [self.file]

    def measure(self, values: Mapping[str, Value], tracker: Tracker) -> float:
        self.tried.append(dict(values))
        if values["dim"] == 128:
            raise TrainingError("too wide")
        return -abs(values["dropout"] - 0.3)


def run(search: Search, trials: int) -> None:
    while search.done < trials:
        number, values = search.ask()
        try:
            search.tell(number, search.objective.measure(values, NullTracker()))
        except TrainingError:
            search.tell(number, None)


@pytest.fixture
def bowl(tmp_path: Path) -> Bowl:
    (tmp_path / "data").write_text("one")
    return Bowl(tmp_path / "data")


def test_the_present_parameters_are_tried_first_and_the_best_is_written_as_params_yaml_takes_it(bowl: Bowl, tmp_path: Path) -> None:
    search = Search(Target.RECOMMENDER, bowl, PARAMS, tmp_path / "studies")
    run(search, 12)
    held = PARAMS.train_recommender.model_dump()
    assert bowl.tried[0] == {key: held[key] for key in search.present}
    assert search.of_present() == pytest.approx(-abs(held["dropout"] - 0.3))
    worth, values = search.best()
    assert worth == max(-abs(tried["dropout"] - 0.3) for tried in bowl.tried if tried["dim"] != 128)
    changed = write_fragment(search, tmp_path / "best.yaml")
    params = tmp_path / "params.yaml"
    params.write_bytes((ROOT / "params.yaml").read_bytes())
    turned = apply_overrides(fragment=tmp_path / "best.yaml", params=params)
    assert {change.key for change in turned} == {f"train_recommender.{key}" for key in changed}
    assert load_params(params).train_recommender.dropout == values["dropout"]
    assert "height on the validation window" in (tmp_path / "best.yaml").read_text()


def test_a_killed_search_goes_on_and_runs_its_broken_trial_again(bowl: Bowl, tmp_path: Path) -> None:
    first = Search(Target.RECOMMENDER, bowl, PARAMS, tmp_path / "studies")
    run(first, 3)
    number, broken = first.ask()  # and is killed here
    again = Search(Target.RECOMMENDER, bowl, PARAMS, tmp_path / "studies")
    assert (again.name, again.done) == (first.name, 3)
    other, values = again.ask()
    assert (other, values) == (number + 1, broken)
    again.tell(other, 0.0)
    run(again, 4)
    assert again.done == 4
    (tmp_path / "data").write_text("other data")
    assert Search(Target.RECOMMENDER, bowl, PARAMS, tmp_path / "studies").done == 0


def test_trials_that_all_diverge_are_told(bowl: Bowl, tmp_path: Path) -> None:
    search = Search(Target.RECOMMENDER, bowl, PARAMS, tmp_path / "studies")
    number, _ = search.ask()
    search.tell(number, None)
    with pytest.raises(TrainingError, match="none of 1 trials"):
        search.best()
    (tmp_path / "data").unlink()
    with pytest.raises(TrainingError, match="nothing to tune on"):
        Search(Target.RECOMMENDER, bowl, PARAMS, tmp_path / "studies")


def test_a_fragment_with_an_unknown_key_is_refused_by_its_name_and_changes_nothing(tmp_path: Path) -> None:
    params, fragment = tmp_path / "params.yaml", tmp_path / "part.yaml"
    params.write_bytes((ROOT / "params.yaml").read_bytes())
    fragment.write_text("train_recommender:\n  learning: 1\n")
    with pytest.raises(ParamsError, match=r"learning: params.yaml has no such key; mend .*part.yaml"):
        apply_overrides(fragment=fragment, params=params)
    assert params.read_bytes() == (ROOT / "params.yaml").read_bytes()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> RecommenderInputs:
    folder = tmp_path_factory.mktemp("world")
    items = shop_items()
    events = shop_events(items, users=24)
    write_table(items, folder / "items.parquet")
    write_table(events, folder / "events.parquet")
    write_json({"train_end": TRAIN_END.isoformat(), "validation_end": VALIDATION_END.isoformat()}, folder / "lineage.json")
    texts = [*dict.fromkeys(item_texts(items)), *sorted(set(events[Columns.QUERY].dropna()))]
    Embeddings(tuple(texts), text_vectors(texts)).save(folder / "embeddings")
    encoder = networkless_encoder()
    encoder.save(folder / "encoder")
    return RecommenderInputs(*(folder / name for name in ("items.parquet", "events.parquet", "lineage.json", "embeddings", "encoder")))


class Remembering(RecommenderObjective):
    """Whose encoder knows the shop's queries, as it has no network."""

    def measure(self, values: Mapping[str, Value], tracker: Tracker) -> float:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("models.encoder.TextEncoder.features", lambda self, texts: text_vectors(list(texts)))
            return super().measure(values, tracker)


def test_two_trials_of_the_recommender_read_nothing_after_the_validation_window(world: RecommenderInputs, tmp_path: Path) -> None:
    params = tiny(PARAMS)
    objective = Remembering(params, world)
    search = Search(Target.RECOMMENDER, objective, params, tmp_path / "studies")
    run(search, 2)
    worth, values = search.best()
    assert 0 < worth <= 1
    assert objective.measure(values, NullTracker()) == worth  # one seed, one number
    known = read_table(world.events)
    late = known[Columns.TIMESTAMP] >= VALIDATION_END
    assert late.any()
    write_table(known[~late].reset_index(drop=True), tmp_path / "events.parquet")
    cut = RecommenderInputs(world.items, tmp_path / "events.parquet", world.lineage, world.embeddings, world.encoder)
    assert Remembering(params, cut).measure(values, NullTracker()) == worth


def test_a_trial_whose_width_the_heads_do_not_divide_diverges_and_ends_nothing(world: RecommenderInputs) -> None:
    params = tiny(PARAMS)
    with pytest.raises(TrainingError, match="dim 9 is no multiple of heads 2"):
        Remembering(params, world).measure({"dim": 9}, NullTracker())


def test_a_trial_of_the_ranker_is_worth_the_networks_log_loss_on_held_rows() -> None:
    rng = np.random.default_rng(3)

    def rows(n: int) -> Rows:
        features = rng.normal(size=(n, 3)).astype(np.float32)
        clicks = (rng.random(n) < 1 / (1 + np.exp(-2 * features[:, 0]))).astype(np.float32)
        users = np.array([f"u{row % 20}" for row in range(n)], dtype=object)
        return Rows(features, clicks, clicks * 0, users, np.ones(n, np.float32))

    objective = objective_of(Target.RANKER, PARAMS, Path)
    assert isinstance(objective, RankerObjective)
    objective.__dict__["learnable"] = Learnable(rows(400), rows(200), ("a", "b", "c"), None)  # type: ignore[arg-type]
    learnt = objective.measure({"learning_rate": 0.01, "dim": 8, "hidden_dim": 8}, NullTracker())
    assert 0.3 < learnt < 0.65  # of coins: 0.693
    assert read_yaml(ROOT / "params.yaml")["train_ranker"]["dim"] == PARAMS.train_ranker.dim


@pytest.mark.parametrize("target", list(Target))
def test_every_searched_key_is_one_of_its_section(target: Target, bowl: Bowl, tmp_path: Path) -> None:
    search = Search(target, bowl, PARAMS, tmp_path / "studies")
    assert set(search.present) <= set(getattr(PARAMS, search.section).model_dump())
    _, values = search.ask()
    assert values == search.present
