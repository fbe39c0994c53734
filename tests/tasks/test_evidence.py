"""What a bundle says of its own generators: is ℓ read, does G do anything, who beats the 3-gram's curve."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_generate import data, train, vector

from core.files import read_json, read_table
from models.generator import GeneratorBundle
from models.generator.fluency import FluencyJudge
from models.generator.latent import between, on_sphere
from models.generator.request import CopyRequest
from tasks.generators.choosing import best_of, familiar
from tasks.judge.adversary import failings
from tasks.judge.copies import MAIN
from tasks.judge.curves import above
from tasks.judge.latent import latent_evidence


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evidence")
    patch = pytest.MonkeyPatch()
    patch.setenv("ADLOOM_CACHE", str(folder / "cache"))
    target = train(data(folder), folder / "generator")
    patch.undo()
    return target


def test_a_bundle_keeps_evidence_on_its_latent_its_gan_and_its_curves(made: Path) -> None:
    config = read_json(made / "config.json")
    latent, gan, curves = config["latent"], config["gan"], config["curves"]
    own, shuffled = latent["bleu_4"]["value"], latent["bleu_4_shuffled"]["value"]
    assert latent["used"] == (own > 0 and shuffled <= 0.5 * own)
    assert latent["walks"]
    for walk in latent["walks"]:
        assert [step["at"] for step in walk["steps"]] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
        assert all(0.0 <= step["fluency"] <= 1.0 and step["text"] for step in walk["steps"])
    assert set(gan["sources"]) == {"gan", "mean", "noise", "human"}
    assert gan["works"] == (not gan["reasons"])
    assert gan["encoder_frechet"][-1][0] == 20
    assert {"kept_step", "frechet", "stopped"} <= set(gan)
    assert set(curves["points"]) == {"ngram", "gpt", "vae", "gan"}
    assert set(curves["above_ngram"]) == {"gpt", "vae", "gan"}
    held_out = set(read_table(made / "held_out.parquet")["copy_id"])
    assert len(curves["copies"]) == curves["n"]
    assert set(curves["copies"]) <= held_out
    for points in curves["points"].values():
        assert [point["temperature"] for point in points] == [0.4, 0.6, 0.8, 1.0, 1.2]
        assert all(point["bleu4_low"] <= point["bleu4"] <= point["bleu4_high"] for point in points)


def point(temperature: float, bleu4: float, self_bleu4: float, copy_rate: float) -> dict[str, float]:
    return {"temperature": temperature, "bleu4": bleu4, "self_bleu4": self_bleu4, "copy_rate": copy_rate}


def test_a_point_lies_above_the_curve_where_it_scores_more_at_equal_diversity_and_copying() -> None:
    ngram = [point(0.5, 10.0, 60.0, 0.5), point(1.0, 4.0, 40.0, 0.1)]
    rows = [
        (point(0.5, 8.0, 50.0, 0.5), 7.0, True),  # halfway along the curve: BLEU-4 7 at Self-BLEU-4 50
        (point(0.6, 6.0, 50.0, 0.5), 7.0, False),
        (point(0.7, 6.0, 50.0, 0.2), 5.5, True),  # copies 0.2: only the quarter of the curve that copies no more counts
        (point(0.8, 5.0, 30.0, 0.5), 4.0, True),  # more diverse than all of the curve
        (point(0.9, 3.0, 30.0, 0.0), 4.0, False),  # copies less than all of it
    ]
    found = above([row for row, _, _ in rows], ngram)
    assert [verdict["ngram_bleu4"] for verdict in found["points"]] == pytest.approx([goal for _, goal, _ in rows], abs=1e-9)
    assert [verdict["above"] for verdict in found["points"]] == [wins for _, _, wins in rows]
    assert (found["share"], found["all"]) == (pytest.approx(0.6), False)


def interval(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 1, "high": value + 1}


def test_the_gan_works_only_with_intervals_apart_from_the_mean_and_from_noise() -> None:
    good, bad = {"frechet": interval(5), "self_bleu_4": interval(50)}, {"frechet": interval(9), "self_bleu_4": interval(60)}
    assert failings({"gan": good, "mean": bad, "noise": bad}) == []
    (reason,) = failings({"gan": good, "mean": bad, "noise": {**bad, "self_bleu_4": interval(51)}})
    assert "Self-BLEU-4 50 [49, 51] is not apart from that of noise" in reason
    (reason,) = failings({"gan": good, "mean": {**bad, "frechet": interval(1)}, "noise": bad})
    assert "Fréchet distance 5 [4, 6] is worse than that of the mean ℓ" in reason


def test_a_walk_keeps_to_the_sphere_and_to_its_ends() -> None:
    first, last = on_sphere(torch.tensor([3.0, 1.0, 0.0])), on_sphere(torch.tensor([0.0, 1.0, -2.0]))
    path = [between(first, last, share) for share in (0.0, 0.25, 0.5, 1.0)]
    torch.testing.assert_close(path[0], first)
    torch.testing.assert_close(path[-1], last)
    assert all(float(place.norm()) == pytest.approx(3**0.5, abs=1e-5) for place in path)
    torch.testing.assert_close(path[2], on_sphere(first + last))
    torch.testing.assert_close(between(first, first, 0.4), first)


def test_a_decoder_that_passes_over_the_latent_is_told(made: Path) -> None:
    bundle = GeneratorBundle.load(made)
    gan = bundle.generators["gan"]
    deaf = gan.latent  # type: ignore[attr-defined]
    reader = deaf.model.decoder.latent
    for layer in (reader.position, reader.words):
        torch.nn.init.zeros_(layer.weight)
    copies = bundle.copies[:12]
    slots = deaf.model.decoder.shape.slots
    raw = np.stack([np.stack([vector(copy.text)] * slots) for copy in copies])
    found = latent_evidence(deaf, copies, raw, np.arange(12), reviewer=bundle.reviewer, rng=np.random.default_rng(1))
    assert found["bleu_4_shuffled"] == pytest.approx(found["bleu_4"], rel=0.2)
    assert found["kept"] == pytest.approx(1.0)
    assert not found["used"]


@pytest.mark.parametrize(
    ("writes", "used"), [("what ℓ stood for", True), ("the same whatever ℓ is", False), ("nothing", False)]
)  # fmt: skip
def test_a_latent_is_read_where_another_rows_makes_another_text(
    made: Path, monkeypatch: pytest.MonkeyPatch, writes: str, used: bool
) -> None:
    bundle = GeneratorBundle.load(made)
    latent, copies = bundle.generators["gan"].latent, bundle.copies[:12]  # type: ignore[attr-defined]
    raw = np.stack([np.stack([vector(copy.text)] * latent.model.decoder.shape.slots) for copy in copies])
    own, of_item = latent.encode(raw), {copy.request.item_id: f"{copy.text[:10]}，值得一试。" for copy in copies}

    def reconstructed(_: object, requests: list[CopyRequest], vectors: torch.Tensor) -> list[str]:
        nearest = torch.cdist(vectors, own).argmin(1).tolist()
        return {
            "what ℓ stood for": [copies[row].text for row in nearest],
            "the same whatever ℓ is": [of_item[request.item_id] for request in requests],
            "nothing": [""] * len(requests),
        }[writes]

    monkeypatch.setattr("tasks.judge.latent.reconstruct", reconstructed)
    found = latent_evidence(latent, copies, raw, np.arange(12), reviewer=bundle.reviewer, rng=np.random.default_rng(1))
    assert found["used"] is used
    assert (found["kept"] == pytest.approx(1.0)) is not used
    assert (found["bleu_4"]["value"] > 0) is (writes != "nothing")


@dataclass(frozen=True)
class Parrot:
    """Says one thing."""

    text: str
    name: str = "parrot"

    def write(self, requests: list[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        return [[self.text] * n for _ in requests]

    def save(self, folder: Path) -> None:
        pass


def test_the_pool_is_written_by_the_generator_that_scores_best(made: Path) -> None:
    bundle = GeneratorBundle.load(made)
    request = bundle.copies[0].request
    for scores, best in (({"vae": 0.4, "gan": 0.3}, "好"), ({"vae": 0.2, "gan": 0.3}, "坏")):
        table = {name: {MAIN: {"value": value}} for name, value in scores.items()}
        rigged = GeneratorBundle({"vae": Parrot("好"), "gan": Parrot("坏")}, best_of(table), bundle.reviewer, bundle.copies, {})
        assert rigged.write([request], 2, np.random.default_rng(0)) == [[best, best]]


def test_who_writes_word_by_word_is_not_chosen_where_people_make_most_of_their_word_pairs_anew(made: Path) -> None:
    bundle = GeneratorBundle.load(made)
    known = familiar(SimpleNamespace(reviewer=bundle.reviewer, held_out=bundle.copies))
    assert (known["new_pairs"], known["left_out"]) == (0.0, [])  # training copy has all of its own pairs
    stranger = replace(bundle.reviewer, language=FluencyJudge.of([["好"], ["的", "是"]]))
    known = familiar(SimpleNamespace(reviewer=stranger, held_out=bundle.copies))
    assert known["new_pairs"] > known["most"]
    assert known["left_out"] == ["gan", "gpt", "ngram", "vae"]
    told = bundle.config["familiar"]
    assert (bundle.chosen in told["left_out"]) is False
    assert bool(told["left_out"]) == (told["new_pairs"] > told["most"])
