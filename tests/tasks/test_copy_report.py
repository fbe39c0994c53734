"""The copy report: judged again, counted on both sides of the gate, self-contained and escaped."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.columns import Columns
from evaluation import text as metrics
from evaluation.detection import Detection
from models.generator.bundle import GeneratorBundle, make_reviewer
from models.generator.facts import fit_facts
from models.generator.held_out import HeldOutTexts
from models.generator.quality import fit_targets
from models.generator.request import CopyRequest
from models.generator.template import TemplateGenerator
from models.generator.training_copies import Copy, split_groups
from models.generator.vocabulary import Vocabulary
from models.pool import Pool
from tasks.judge.copies import contradicting, held_out_perplexity, measure
from tasks.judge.measures import copy_measures
from tasks.judge.plane import Plane
from tasks.judge.writing import WritingEvidence, judge_writing, with_frechet
from tasks.report.build import copy_chapter
from tasks.report.copy_page import build_copy_page
from tasks.report.latent_chapter import latent_chapter
from tasks.report.page import Chapter, interval_cell, marked, render_copy

COLOURS = ("云朵白", "曜石黑", "薄荷绿", "雾海蓝")
LEARNED = "这双跑鞋鞋底软弹缓震，清晨五公里也不累脚，下班路上顺手就跑。"


def shop() -> list[Copy]:
    found = []
    for row in range(24):
        colour, scene = COLOURS[row % 4], ("product", "brand")[row % 2]
        request = CopyRequest(
            f"p{row}", f"驰野跑鞋 {colour} {row}", "运动鞋", "驰野", 299_000_000, (("颜色", colour), ("编号", f"第{row}款")), scene
        )
        text = f"{colour}的鞋面，第{row}款<更>轻。" if row % 3 else LEARNED
        found.append(Copy(f"c{row}", request, text, (text,), text))
    return found


def bundle() -> GeneratorBundle:
    copies = shop()
    train, held = copies[:16], copies[16:]
    vocabulary = Vocabulary(())
    facts = fit_facts([copy.request for copy in copies], train, [])
    reviewer = make_reviewer(facts, train, vocabulary, levels=[], targets=fit_targets(train, facts), max_copied_span=20)
    texts = {
        "template": tuple(f"{copy.request.title}，值得一试。" for copy in held),
        "gpt": (LEARNED, "国家级的跑鞋，雾海蓝。", *("曜石黑的<b>跑鞋</b>，穿着很轻便。" for _ in held[2:])),
    }
    held_out = HeldOutTexts(tuple(held), tuple(split_groups(held)), texts)
    rng = np.random.default_rng(0)
    table = {
        name: measure(written, held_out.requests, held_out.references, held_out.group_array(), reviewer=reviewer, rng=rng)
        for name, written in {**texts, "human": tuple(held_out.references)}.items()
    }
    config = {
        "models": table,
        "generators": ["template", "gpt"],
        "curves": {
            "n": 9,
            "points": {"gpt": [{"temperature": 0.8, "bleu4": 5.0, "self_bleu4": 40.0, "copy_rate": 0.0}]},
            "above_ngram": {"gpt": {"points": [{"above": True}]}},
        },
    }
    return GeneratorBundle({"template": TemplateGenerator()}, "gpt", reviewer, tuple(train), config, held_out)


REJECTED = pd.DataFrame(
    [("p1", "国家级的跑鞋<i>", "gpt", "compliance", "national_level", "国家级"), ("p2", "短", "gpt", "length", "too_short", "1")],
    columns=["item_id", "text", "origin", "reason", "rule", "found"],
)


def evidence() -> WritingEvidence:
    held = bundle()
    creatives = pd.DataFrame(
        {"creative_id": ["a", "b"], "item_id": ["p1", "p2"], "text": ["曜石黑的跑鞋，轻。", "薄荷绿的跑鞋，轻。"], "ai_label": [True, True]}
    )
    pool = Pool.__new__(Pool)
    pool.creatives, pool.config = creatives, {"generated": {"candidates": 10}}
    judged = judge_writing(
        held,
        pool,
        REJECTED,
        {copy.request.item_id: copy.request for copy in shop()},
        rng=np.random.default_rng(0),
        replications=100,
    )
    return with_frechet(judged, lambda texts: np.array([[len(text), text.count("鞋")] for text in texts], np.float32))


EVIDENCE = evidence()
HTML = render_copy(*build_copy_page(EVIDENCE, REJECTED, {"held out": Detection(9, 1, 0, 10)}, subtitle="Source test."), EVIDENCE.signature)


def test_the_report_asks_nothing_of_the_network_and_escapes_what_was_written() -> None:
    assert [url for url in re.findall(r"(?:src|href)=[\"']([^\"']+)", HTML) if not url.startswith("#")] == []
    assert "@import" not in HTML
    assert "<b>跑鞋</b>" not in HTML
    assert "曜石黑的&lt;b&gt;跑鞋&lt;/b&gt;" in HTML
    assert "<mark>国家级</mark>的跑鞋&lt;i&gt;" in HTML


def test_a_near_copy_stands_beside_its_source_with_the_shared_span_marked() -> None:
    near = EVIDENCE.near_copies[0] if EVIDENCE.near_copies[0].origin == "gpt" else EVIDENCE.near_copies[-1]
    closest = max(EVIDENCE.near_copies, key=lambda found: found.span.length)
    assert near.origin in ("gpt", "template")
    assert (closest.origin, closest.span.length, closest.span.source) == ("gpt", len(LEARNED), LEARNED)
    assert HTML.count(f"<mark>{LEARNED}</mark>") == 2


def test_faults_are_counted_anew_before_and_after_the_gate() -> None:
    rows = {row.what.split(" ")[0]: row for row in EVIDENCE.gate}
    assert rows["gpt"].before.texts == 8
    assert rows["gpt"].before.violations.value == pytest.approx(10_000 / 8)  # 国家级
    assert rows["gpt"].after is not None
    assert rows["gpt"].after.violations.value == 0
    assert rows["human"].after is None
    assert rows["candidates"].before.violations.value == pytest.approx(10_000 / 10)
    after = rows["candidates"].after
    assert after is not None
    assert after.texts == 2
    assert after.contradictions.value == 0.0  # p1 is 曜石黑, p2 薄荷绿


def test_every_generator_and_the_human_copy_have_their_metrics_samples_and_places() -> None:
    assert list(EVIDENCE.models) == ["template", "gpt", "human"]
    assert {place.scene for place in EVIDENCE.places} == set()  # four texts a scene: too few for a number
    assert "frechet" in EVIDENCE.models["gpt"]
    assert "perplexity" in EVIDENCE.models["human"]
    assert "bleu_4" not in EVIDENCE.models["human"]  # it is its own reference
    assert len(EVIDENCE.samples) == 8
    assert EVIDENCE.samples[0].texts["gpt"][1].startswith("copied")
    assert EVIDENCE.samples[0].texts["template"][1] == ""


def test_contradicting_texts_are_those_that_say_another_colour() -> None:
    held = bundle()
    requests = [copy.request for copy in shop()[:2]]
    assert contradicting(["曜石黑的鞋", "曜石黑的鞋"], requests, held.reviewer.facts).tolist() == [True, False]


def test_perplexity_is_by_the_other_half_and_by_hand() -> None:
    groups = np.array(["a", "b"], dtype=object)
    found = held_out_perplexity(["甲", "甲"], ["甲", "甲"], groups, np.random.default_rng(0))
    assert found is not None
    # a model of one text 甲: P(甲) = (1 + T·P′)/(1 + T) three times over from 1/3 with T = 1, of the empty history T = 2; P(end) alike
    base = (1 + 2 * (1 / 3)) / (2 + 2)
    p = base
    for _ in range(2):
        p = (1 + p) / 2
    assert found.value == pytest.approx(1 / p)
    assert held_out_perplexity(["甲"], ["甲"], groups[:1], np.random.default_rng(0)) is None


def test_held_out_texts_come_back_from_their_file(tmp_path: Path) -> None:
    held = bundle().held_out
    limited = replace(held, copies=tuple(replace(copy, request=replace(copy.request, limit=320)) for copy in held.copies))
    for kept in (held, limited, HeldOutTexts.none()):
        kept.save(tmp_path / "held_out.parquet")
        back = HeldOutTexts.load(tmp_path / "held_out.parquet", {"onsite": 40})
        assert back.texts == kept.texts
        assert back.groups == kept.groups
        assert {copy.request.max_length for copy in back.copies} <= {40, 320}
        assert [copy.request for copy in back.copies] == [copy.request for copy in kept.copies]
    assert len(held.at_most(3).copies) == len(held.at_most(3).texts["gpt"]) == 3


def test_a_bundle_that_trained_nothing_has_a_report_too() -> None:
    held = bundle()
    empty = replace(held, chosen="template", copies=(), config={"reason": "3 usable copies"}, held_out=HeldOutTexts.none())
    pool = Pool.__new__(Pool)
    pool.creatives, pool.config = pd.DataFrame({"ai_label": [], "item_id": [], "text": []}), {}
    judged = judge_writing(empty, pool, REJECTED.head(0), {}, rng=np.random.default_rng(0), replications=100)
    found = with_frechet(judged, lambda texts: np.zeros((len(texts), 2), np.float32))
    html = render_copy(*build_copy_page(found, REJECTED.head(0), {}, subtitle="s"), found.signature)
    assert "3 usable copies" in html


def test_spans_and_intervals_are_marked_up_and_escaped() -> None:
    assert marked("a<b>c", 1, 3) == "a<mark>&lt;b&gt;</mark>c"
    assert marked("a<b>c", 0, 0) == "a<b>c"  # a plain string, which the page escapes
    assert interval_cell(1.0, 0.5, 1.5) == '1.00<span class="ci">0.50–1.50</span>'
    assert interval_cell(1.0, 1.0, 1.0) == "1.00"


def test_what_training_tells_of_the_latent_and_of_the_gan_is_shown() -> None:
    def number(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 1, "high": value + 1}

    walk = {"item_id": "p1", "from": "甲<", "to": "丙", "steps": [{"at": 0.2, "text": "乙", "fluency": 0.5}]}
    told = {
        "latent": {"n": 9, "bleu_4": number(18.0), "bleu_4_shuffled": number(6.0), "kept": 0.333, "used": True, "walks": [walk]},
        "gan": {
            "kept_step": 150,
            "stopped": "",
            "frechet": 0.5,
            "works": False,
            "reasons": ["Self-BLEU-4 is not apart from that of the mean ℓ"],
            "sources": {"gan": {"frechet": number(2.0), "self_bleu_4": number(40.0)}, "human": {"self_bleu_4": number(41.0)}},
            "encoder_frechet": [[100, 2.5]],
        },
    }
    (chapter,) = latent_chapter(told)
    assert chapter.lead.startswith("The decoder reads ℓ. The GAN is not working: its draws of ℓ are not shown to be better than both ")
    assert "writes the pool" not in chapter.lead
    reading, walked, sources, run = chapter.tables
    assert [row[1][:4] for row in reading.rows] == ["18.0", "6.00", "0.33"]
    assert walked.rows == (("from", "甲<", "–"), ("0.2", "乙", "0.50"), ("to", "丙", "–"))
    assert [row[0] for row in sources.rows] == ["G", "human copy"]
    assert sources.rows[1][1] == "–"
    assert sources.note == "Self-BLEU-4 is not apart from that of the mean ℓ."
    assert dict(run.rows)["step kept"] == "150"
    assert latent_chapter({}) == ()
    assert latent_chapter({"gan": {"works": None, "kept_step": -1}})[0].lead == "What training tells of ℓ and of G."


def test_a_gan_that_is_not_working_and_writes_the_pool_is_explained_on_both_pages() -> None:
    idle: dict[str, Any] = {"chosen": "gan", "gan": {"works": False, "kept_step": 1}}
    (chapter,) = latent_chapter(idle)
    assert "It writes the pool all the same" in chapter.lead
    assert "decision 0017" in chapter.lead
    assert "decision 0017" in copy_chapter_of(idle).lead
    for other in ({**idle, "chosen": "vae"}, {"chosen": "gan", "gan": {"works": True, "kept_step": 1}}):
        assert "decision 0017" not in latent_chapter(other)[0].lead
        assert "decision 0017" not in copy_chapter_of(other).lead


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.95, 0.99, "clicks worse"), (0.98, 1.02, "not told apart"), (1.01, 1.05, "clicks better")]
)
def test_copy_for_an_audience_has_a_verdict_on_its_clicks(low: float, high: float, verdict: str) -> None:
    pair = {"audience": 0.7, "everyone": 0.7}
    counts = {"generator": "gan", "complete": 18, "products": 20, "audiences": 6, "accepted": pair, "quality": pair}
    lift = {"value": (low + high) / 2, "low": low, "high": high}
    told = copy_chapter_of({"chosen": "gan"}, personal={**counts, "true_ctr_lift": lift}).tables[0]
    assert told.rows[0][1].endswith(f"[{low:.4f}, {high:.4f}]: {verdict}")


@pytest.mark.parametrize(("reason", "end"), [("", "(human 1)."), ("The template writes.", "(human 1). The template writes.")])
def test_a_reason_ends_in_one_full_stop_and_no_reason_in_none(reason: str, end: str) -> None:
    assert copy_chapter_of({"chosen": "gan", "reason": reason}).lead.endswith(end)


def test_dots_and_the_human_line_are_of_the_products_of_the_curves() -> None:
    held = bundle().held_out
    for drawn, rows in (
        ({"n": 3, "copies": ["c22", "c17", "c20"]}, [1, 4, 6]),
        ({"n": 3}, [0, 4, 7]),  # of a bundle that does not name them: as many
        ({}, list(range(8))),
    ):
        found = Plane.of(held, drawn)
        people = [held.references[row] for row in rows]
        assert found.texts == len(rows)
        assert found.human == pytest.approx(metrics.self_bleu_4(people))
        for name, written in held.texts.items():
            mine = [written[row] for row in rows]
            assert found.self_bleu_4[name] == pytest.approx(metrics.self_bleu_4(mine))
            assert found.bleu_4[name] == pytest.approx(metrics.bleu_4(mine, people).mean())


def test_the_plane_says_on_how_many_texts_it_is_measured() -> None:
    few = replace(EVIDENCE, plane=Plane(3, {"gpt": 5.0}, {"gpt": 40.0}, 30.0))
    page, _ = build_copy_page(few, REJECTED, {}, subtitle="s")
    told = next(chapter for chapter in page.chapters if chapter.title == "Quality and diversity")
    assert "are of 3 held-out products, one text each. Self-BLEU grows with the number of texts: over all 8 it is higher" in told.lead
    assert "are of 8 held-out products, one text each." in HTML


def test_a_shop_without_copy_is_told_that_nothing_was_held_out() -> None:
    lead = copy_chapter_of({"chosen": "template", "reason": "0 usable copies."}).lead
    assert lead.startswith("Nothing was held out to compare generators on: the pool takes from template. The pool holds 1 creatives")
    assert lead.endswith("0 usable copies.")
    assert "best on held-out" not in lead


def copy_chapter_of(config: dict[str, Any], *, personal: dict[str, Any] | None = None) -> Chapter:
    """The chapter of index.html, the generators being known by what their bundle's config says."""
    pool = Pool.__new__(Pool)
    columns = {"creative_id": "a", "item_id": "p1", "text": "轻。", "ai_label": False, Columns.VERDICT: "pass", "origin": "human"}
    pool.creatives = pd.DataFrame({name: [value] for name, value in columns.items()})
    judged = replace(EVIDENCE, chosen=config["chosen"], config=config, models={})
    return copy_chapter(copy_measures(judged, {}, pool, REJECTED, None, personal=personal or {}), pool, REJECTED)
