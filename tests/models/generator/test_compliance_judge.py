"""What the judge of sentences adds to the list of words."""

import json
from dataclasses import replace

import pytest

from evaluation.detection import detection
from models.generator.compliance import GENERAL_CLAUSE, HIT, RESEMBLES, Compliance, labelled
from models.generator.compliance.judge import (
    HELD_OUT,
    LONGEST,
    SENTENCES,
    Judge,
    LabelledSentences,
    Sentence,
    _characters,
    _score,
    _weights,
    pieces,
)

COMPLIANCE = Compliance.load()
ALONE = replace(COMPLIANCE, judged=False)
ROWS = [json.loads(line) for line in SENTENCES.read_text(encoding="utf-8").splitlines() if line]


@pytest.mark.parametrize("number", HELD_OUT)
def test_of_sentences_by_a_hand_it_never_learnt_from_the_judge_finds_many_more_than_the_list(number):
    rows = [row for row in ROWS if row["round"] == number]
    labels = [row["label"] == "violation" for row in rows]
    both, alone = (detection(labels, [bool(rules.blocks(row["text"], row["category"])) for row in rows]) for rules in (COMPLIANCE, ALONE))
    assert both.recall.low > alone.recall.high
    assert both.precision.value >= alone.precision.value - 0.02


def test_the_judge_has_learnt_nothing_of_the_sentences_held_out():
    held_out = {labelled().read(row["text"]) for row in ROWS if row["round"] in HELD_OUT}
    assert not held_out & {one.text for one in labelled().learnt_from()}


def test_what_no_word_of_the_list_tells_is_found_with_its_place_and_clause():
    text = "白头发抹一周就变黑了"
    found = [violation for violation in COMPLIANCE.check(text, "洗护") if violation.rule == RESEMBLES] or COMPLIANCE.blocks(text, "洗护")
    assert found
    assert all(violation.found in text and violation.clause and violation.suggestion for violation in found)


def test_a_long_text_is_judged_piece_by_piece():
    fine = "这款连衣裙采用柔软的棉麻面料，版型宽松，穿着舒适自在。领口做了简洁的圆领设计，搭配牛仔裤很有活力。"
    assert len(fine + fine) > LONGEST
    assert not COMPLIANCE.blocks(fine + fine, "女装")
    broken = "喝完这款茶，三天血压就稳了，老人不用再吃药。"
    found = COMPLIANCE.blocks(fine + broken + fine, "茶叶")
    assert found
    assert all(len(fine) - 1 <= violation.start < len(fine) + len(broken) for violation in found)


HARMLESS = (
    ("雾里青禾燕麦奶，标价56.9元", "茶饮咖啡"),
    ("桌面新朋友案野！每款样品都请上班族试用", "电脑办公"),
    ("照顾自己，从一件小东西开始。朝颜社护手霜，滋润霜裹住手背的干，慢慢用", "美妆护肤"),
    ("水果干酸甜有滋味，放包里随时来一片", "食品零食"),
)
CLAIMS = ("，包治百病。", "，全网第一！", "。全网销量第一！", "，现在史上最低价！", "，吃了能抗癌。")


@pytest.mark.parametrize("claim", CLAIMS)
def test_among_harmless_words_a_claim_of_the_list_is_stopped_as_it_is_alone(claim):
    for text, category in HARMLESS:
        assert not COMPLIANCE.blocks(text, category)
        found = COMPLIANCE.blocks(text + claim, category)
        assert [one.rule for one in found], text + claim
        assert all(one.start >= len(text) for one in found), "the place is that of the claim"


def test_a_hit_that_reads_innocent_in_its_own_clause_stays_a_note():
    assert ALONE.blocks("网上说的百分百有效别信，肤质差异很大", "护肤")
    assert not COMPLIANCE.blocks("网上说的百分百有效别信，肤质差异很大", "护肤")


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("这是一只普通的热水袋，不治痛经也不治关节炎，就是暖手暖脚", "热水袋"),
        ("不 治 痛 经，就是双袜子", "袜子"),
        ("就是一碗好喝的汤，不减肥、不降三高", "速食汤"),
        ("本品没有减肥功效，口感清爽", "茶饮"),
    ],
)
def test_a_hit_that_its_clause_denies_stays_a_note(text, category):
    assert ALONE.blocks(text, category)
    assert not COMPLIANCE.blocks(text, category)
    assert COMPLIANCE.check(text, category)


EXCUSES = (
    "不用吃药就能降血压",
    "没有比它更能降血糖的了",
    "不是药，胜似药，降血糖一绝",
    "谁说不能根治失眠？喝它就行",
    "不伤肤三天祛斑",
    "没套路全网最低",
    "无添加包治百病",
    "别怀疑就是全球第一",
    "谨防假冒正宗全国第一",
    "凡是报名一律包过",
    "不根治不收费",
    "没有不能根治的痛风",
)


@pytest.mark.parametrize(
    "place", ["{}", "手感温润细腻，包装简洁大方，每一件都经过仔细检查，{}，支持七天无理由退换，颜色有米白和浅灰两种可选"]
)
@pytest.mark.parametrize("claim", EXCUSES)
def test_words_that_deny_something_else_excuse_no_claim(place, claim):
    assert COMPLIANCE.blocks(place.format(claim), "护肤")


@pytest.mark.parametrize("text", ["Steel bottle 1 l", "Trail running shoes", "Soft cotton T-shirt for every day", "iPhone 15 Pro 壳"])
def test_the_judge_says_nothing_of_what_it_cannot_read(text):
    assert not COMPLIANCE.check(text, "Bottles")


@pytest.mark.parametrize("text", ["", "短", "很长" * 60, "一句，" * 40, "一句。" * 40])
def test_the_pieces_of_a_text_hold_all_that_is_said(text):
    found = pieces(text)
    assert all(0 <= start < end <= len(text) and end - start <= LONGEST for start, end in found)
    assert {c for start, end in found for c in text[start:end]} >= set(text) - set("，。")
    assert [start for start, _ in found] == sorted(start for start, _ in found)


def test_a_rule_of_the_users_own_stands_whatever_the_judge_thinks(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("- {id: house, clause: 本店规范, severity: block, patterns: [纯棉], suggestion: 删去}\n", encoding="utf-8")
    text = "纯棉短袖，透气舒适，日常百搭"
    assert labelled().judge.margin(text, "女装") + HIT < 0
    assert [violation.rule for violation in Compliance.load(extra=own).blocks(text, "女装")] == ["house"]


def test_an_own_rule_can_make_the_judges_findings_notes(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(f"- {{id: {RESEMBLES}, clause: 本店规范, severity: warn, patterns: ['(?!)'], suggestion: 复核}}\n", encoding="utf-8")
    found = next(
        row
        for row in ROWS
        if row["label"] == "violation" and [one.rule for one in COMPLIANCE.blocks(row["text"], row["category"])] == [RESEMBLES]
    )
    rules = Compliance.load(extra=own)
    assert not rules.blocks(found["text"], found["category"])
    assert [one.severity for one in rules.check(found["text"], found["category"]) if one.rule == RESEMBLES] == ["warn"]


def test_a_judge_learns_what_tells_two_kinds_apart_and_names_the_family():
    bad = [Sentence(f"喝它{n}天包好", "茶", "medical_claim") for n in "一二三四五六七八"]
    good = [Sentence(f"喝它{n}杯解渴", "茶", None) for n in "一二三四五六七八"]
    judge = Judge.learnt([*bad, *good])
    assert judge.margin("喝它九天包好", "茶") > 0 > judge.margin("喝它九杯解渴", "茶")
    start, end, family = judge.place("喝它九天包好", judge.opinions("喝它九天包好", "茶")[0])
    assert family == "medical_claim"
    assert "包好" in "喝它九天包好"[start:end]


def test_the_score_is_the_sum_of_what_each_gram_adds():
    table = labelled().judge.characters
    for row in ROWS[::200]:
        grams = _characters((row["text"] + row["text"][:5], ""))
        assert _score(table, grams) == pytest.approx(sum(_weights(table, grams).values()), abs=1e-12)


def test_a_note_of_the_list_does_not_keep_the_judge_from_stopping_a_sentence():
    text = "免费领一盒，抹一周白头发全变黑，老人都不用再吃药"
    assert any(one.severity == "warn" for one in ALONE.check(text, "洗护"))
    assert labelled().judge.margin(labelled().read(text), "洗护") > 0
    assert COMPLIANCE.blocks(text, "洗护")


def test_without_a_rule_of_the_family_the_general_clause_is_named():
    found = next(row for row in ROWS if [one.rule for one in COMPLIANCE.blocks(row["text"], row["category"])] == [RESEMBLES])
    assert [one.clause for one in Compliance(()).blocks(found["text"], found["category"])] == [GENERAL_CLAUSE]


def test_a_judge_is_kept_by_what_taught_it_and_a_damaged_or_unwritable_cache_costs_only_time(tmp_path, monkeypatch, caplog):
    lines = [f'{{"text": "喝它{n}天包好", "category": "茶", "family": "medical_claim", "round": 1}}' for n in "一二三四五六"]
    lines += [f'{{"text": "喝它{n}杯解渴", "category": "茶", "family": null, "round": 1}}' for n in "一二三四五六"]
    sentences = tmp_path / "sentences.jsonl"
    sentences.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))
    first = LabelledSentences(sentences, str).judge
    (kept,) = (tmp_path / "cache" / "compliance").iterdir()
    assert LabelledSentences(sentences, str).judge.margin("喝它九天包好", "茶") == pytest.approx(first.margin("喝它九天包好", "茶"))
    kept.write_text("{", encoding="utf-8")
    assert LabelledSentences(sentences, str).judge == first
    assert "learns anew" in caplog.text
    sentences.write_text("\n".join(lines[1:]), encoding="utf-8")
    assert LabelledSentences(sentences, str).judge != first
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "file"))
    assert LabelledSentences(sentences, str).judge.margin("喝它九天包好", "茶") > 0
    assert "cannot be written" in caplog.text
