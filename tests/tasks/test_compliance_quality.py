"""What the copy report says of the compliance list."""

from dataclasses import replace

from models.generator.compliance import Compliance
from tasks.judge.compliance import compliance_quality


def test_every_part_is_counted_once_and_all_parts_make_the_whole():
    *parts, whole, disguised = compliance_quality()
    assert [part.part for part in parts] == sorted({part.part for part in parts})
    assert sum(part.sentences for part in parts) == whole.sentences >= 1000
    assert sum(part.counts.found for part in parts) == whole.counts.found
    assert 150 <= disguised.violations < whole.violations
    assert whole.counts.recall.low < whole.counts.recall.value < whole.counts.recall.high


def test_a_list_without_superlatives_finds_less():
    rules = replace(Compliance.load(), judged=False)
    less = replace(rules, rules=tuple(rule for rule in rules.rules if rule.family != "superlative"))
    *_, whole, _ = compliance_quality(less)
    *_, usual, _ = compliance_quality(rules)
    assert whole.counts.recall.value < usual.counts.recall.value - 0.1
