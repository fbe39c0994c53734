"""The compliance list on labelled sentences, and the ways a text is read."""

import hashlib
import json
import pickle
import re
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ParamsError
from evaluation.detection import Detection, detection
from models.generator.compliance import RULES, Compliance
from models.generator.compliance.disguise import reader
from models.generator.compliance.judge import SENTENCES as LABELLED
from models.generator.compliance.rules import read_rules
from models.generator.compliance.search import PatternIndex, needles, prepare

COMPLIANCE = Compliance.load()
SENTENCES = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines() if line]
EVASIONS = ("spaced", "inserted", "homophone", "traditional", "fullwidth", "emoji", "pinyin")


SOME = SENTENCES[::13]
"""For what holds of every sentence and is dear to ask."""
PARTS = sorted({(row["round"], row["half"]) for row in SENTENCES if row["label"] == "violation"})
LEAST = {28: 0.85}
"""Of long copy that the judge never learnt from; docs/copy.md tells what is found."""
PROSE = sorted({row["round"] for row in SENTENCES} - {number for number, _ in PARTS})


def measured(part: tuple[int, str], kind: str | None = None, rules: Compliance = COMPLIANCE) -> Detection:
    rows = [row for row in SENTENCES if (row["round"], row["half"]) == part and kind in (None, row["kind"])]
    return detection([row["label"] == "violation" for row in rows], [bool(rules.blocks(row["text"], row["category"])) for row in rows])


def test_the_labelled_set_is_as_large_and_as_hard_as_it_says():
    violations = [row for row in SENTENCES if row["label"] == "violation"]
    fine = [row for row in SENTENCES if row["label"] == "fine"]
    kinds = Counter(row["kind"] for row in violations)
    assert len(SENTENCES) == len({row["text"] for row in SENTENCES}) >= 460
    assert sum(kinds[kind] for kind in EVASIONS) >= 190
    assert min(kinds[kind] for kind in EVASIONS) >= 25
    assert len(fine) >= 200
    assert sum(row["hard"] for row in fine) >= 120


def test_the_halves_follow_from_the_texts_alone():
    groups = defaultdict(list)
    for row in SENTENCES:
        if row["round"] <= 2:  # later rounds are held out as a whole
            groups[row["round"], row["label"], row["family"], row["hard"]].append(row)
    before = last = 0
    for (number, *_), rows in groups.items():
        before *= number == last
        last = number
        rows.sort(key=lambda row: (row["kind"], hashlib.sha256(row["text"].encode()).hexdigest()))
        assert [row["half"] for row in rows] == [("development", "held_out")[(place + before) % 2] for place in range(len(rows))]
        before += len(rows)


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_recall_and_precision_are_at_least_95_per_cent(part, record_property):
    found = measured(part)
    kinds = {kind: measured(part, kind).recall.as_dict() for kind in ("plain", *EVASIONS) if measured(part, kind).found}
    record_property("compliance", {"recall": found.recall.as_dict(), "precision": found.precision.as_dict(), "kinds": kinds})
    told = f"{part}: recall {found.recall}, precision {found.precision}; recall by kind {kinds}"
    assert found.recall.value >= LEAST.get(part[0], 0.95), told
    assert found.precision.value >= 0.95, told


@pytest.mark.parametrize("part", [part for part in PARTS if part[0] <= 5], ids=str)
def test_the_list_without_its_judge_keeps_what_it_was_mended_by(part):
    found = measured(part, rules=replace(COMPLIANCE, judged=False))
    assert found.recall.value >= 0.95, found.recall
    assert found.precision.value >= 0.95, found.precision


@pytest.mark.parametrize("part", PROSE)
def test_ordinary_copy_passes(part):
    stopped = [row["text"] for row in SENTENCES if row["round"] == part and COMPLIANCE.blocks(row["text"], row["category"])]
    assert len(stopped) <= 0.01 * sum(row["round"] == part for row in SENTENCES), stopped


def test_a_violation_names_the_place_in_the_text_as_it_was_given():
    for row in SOME:
        for violation in COMPLIANCE.check(row["text"], row["category"]):
            assert violation.found
            assert row["text"][violation.start :].startswith(violation.found)


@pytest.mark.parametrize(
    ("text", "found", "start"),
    [
        ("国货里的最✨佳✨选择", "最✨佳✨选", 4),
        ("它是全国销量第\u200b一", "全国", 2),
        ("㎡大小的家，zuì jia 选择", "zuì jia", 6),
        ("頂級羊絨", "頂級", 0),
        ("１００％有效", "１００％有", 0),
    ],
)
def test_the_words_found_are_the_ones_written(text, found, start):
    assert any(violation.start == start and violation.found.startswith(found[:2]) for violation in COMPLIANCE.blocks(text, "家居"))


@pytest.mark.parametrize("text", ["quan wang zui di，比价请便", "jia ge zui di", "zui hao de 面霜", "今年quanwangdiyi的锅"])
def test_spelt_chinese_is_read_though_no_character_stands_beside(text):
    assert replace(COMPLIANCE, judged=False).blocks(text, "家居")


@pytest.mark.parametrize("text", ["DI YI 家居 春季新品", "zui 牌水杯", "di yi", "a b c di yi", "banana 味的糖"])
def test_two_spelt_syllables_by_themselves_may_be_a_name(text):
    assert not replace(COMPLIANCE, judged=False).blocks(text, "家居")


@pytest.mark.parametrize(
    "text",
    [
        "环保 本店新品",
        "环保🌿本店新品",
        "面积极小 品质如一",
        "白色/黑色/米色",
        "拼音：zui 嘴",
        "书包过安检",
        "水果家常做法",
        "快递一天到家",
        "皇帝一般的午睡",
    ],
)
def test_honest_words_that_meet_at_a_mark_or_share_a_sound_pass(text):
    assert COMPLIANCE.blocks(text, "家居") == []


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="最好第一 ·、zuidyi第顶級级１％💯🥇㎡①\u200bA，。棉治疗國保本", max_size=24))
def test_any_text_can_be_read_and_its_places_lead_back(text):
    for reading in (reader().plain(text), reader().through(reader().plain(text))):
        if reading is None:
            continue
        assert len(reading.text) == len(reading.starts) == len(reading.ends)
        assert all(0 <= start < end <= len(text) for start, end in zip(reading.starts, reading.ends, strict=True))
        assert list(reading.starts) == sorted(reading.starts)
    for violation in COMPLIANCE.check(text):
        assert text[violation.start :].startswith(violation.found)


def test_no_pattern_is_skipped_that_would_match():
    patterns = [(number, re.compile(pattern)) for number, rule in enumerate(COMPLIANCE.rules) for pattern in rule.patterns]
    index = PatternIndex({number: prepare(rule.patterns) for number, rule in enumerate(COMPLIANCE.rules)})
    for row in SOME:
        text = reader().plain(row["text"]).text
        assert set(index.search(text)) == {number for number, pattern in patterns if pattern.search(text)}


@pytest.mark.parametrize(
    ("pattern", "begins"),
    [
        ("第一", {"第一"}),
        ("第?一|王牌", {"一", "王牌"}),
        ("(?:甲|乙丙)?丁戊", {"丁戊"}),
        ("(?:甲|[乙丙])丁{0,2}(?:戊己|庚辛)", {"戊己", "庚辛"}),
        ("[^甲]{0,4}", None),
        ("(?<!不)保本", {"保本"}),
        ("[甲乙]丙", {"甲丙", "乙丙"}),
        ("(?:让|令)你", {"让你", "令你"}),
        (".*", None),
        ("最(?!近)", {"最"}),
    ],
)
def test_what_every_match_holds_is_read_from_the_pattern(pattern, begins):
    assert needles(pattern) == (None if begins is None else frozenset(begins))


def test_own_rules_are_laid_over_the_list(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(
        "- {id: house_word, clause: 本店规范第一条, severity: block, patterns: [闭眼入], suggestion: 删去}\n"
        "- {id: superlative_most, clause: 广告法第九条第三项, severity: warn, patterns: [最好], suggestion: 改写}\n",
        encoding="utf-8",
    )
    laid = Compliance.load(extra=own)
    assert [rule.id for rule in laid.rules] == [*(rule.id for rule in COMPLIANCE.rules), "house_word"]
    assert [violation.rule for violation in laid.blocks("闭 眼 入的好物")] == ["house_word"]
    assert not laid.blocks("最好的朋友送的")
    own.write_text("- {id: broken", encoding="utf-8")
    with pytest.raises(ParamsError, match=r"own\.yaml, line 1: no YAML"):
        Compliance.load(extra=own)
    with pytest.raises(ParamsError, match="no such file"):
        Compliance.load(extra=tmp_path / "none.yaml")


def test_the_list_survives_pickling_and_answers_from_many_threads():
    copy = pickle.loads(pickle.dumps(COMPLIANCE))
    rows = [(row["text"], row["category"]) for row in SOME]
    alone = [COMPLIANCE.check(*row) for row in rows]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda row: copy.check(*row), rows)) == alone


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "- id: a\n  clause: c\n  severity: block\n  patterns: [x]\n  suggestion: s\n- id: b\n  clause: c\n",
            r"own\.yaml, line 6: rule b: .*severity",
        ),
        (
            "- {id: a, clause: c, severity: block, patterns: ['(x'], suggestion: s}\n",
            r"own\.yaml, line 1: rule a: patterns: '\(x' is no regular",
        ),
        (
            "\n- {id: a, clause: c, severity: block, patterns: ['最{none}'], suggestion: s}\n",
            r"own\.yaml, line 2: rule a: no class \{none\}",
        ),
        ("id: a\n", r"own\.yaml, line 1: a list of rules"),
    ],
)
def test_a_broken_file_of_rules_is_told_with_its_line(tmp_path, text, told):
    own = tmp_path / "own.yaml"
    own.write_text(text, encoding="utf-8")
    with pytest.raises(ParamsError, match=told):
        Compliance.load(extra=own)


def test_a_rule_that_stands_in_two_files_of_a_folder_is_refused(tmp_path):
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("- {id: a, clause: c, severity: block, patterns: [x], suggestion: s}\n", encoding="utf-8")
    with pytest.raises(ParamsError, match=r"b\.yaml, line 1: the rule id a stands twice"):
        read_rules(tmp_path)


def test_the_words_of_a_rule_are_read_through_its_disguises(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("- {id: house, clause: c, severity: block, patterns: ['闭眼(?:入|冲)'], suggestion: s}\n", encoding="utf-8")
    laid = Compliance.load(extra=own)
    assert [violation.rule for violation in laid.blocks("这条裙子闭yan入")] == ["house"]
    assert [violation.rule for violation in laid.blocks("这条裙子bi眼冲")] == ["house"]


def test_every_family_of_the_set_has_a_rule():
    families = {row["family"] for row in SENTENCES if row["label"] == "violation"}
    assert families <= {rule.family for rule in COMPLIANCE.rules}
    assert RULES.is_dir()
