import pytest

from core.errors import BundleError
from core.files import content_hash, read_json, write_json
from models.policies.served import NAMES, NEEDS, ServedPolicy


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_is_what_was_saved_and_equal_policies_are_equal_files(tmp_path, name):
    for folder in ("one", "two"):
        ServedPolicy(name, 0.15).save(tmp_path / folder)
    assert ServedPolicy.load(tmp_path / "one") == ServedPolicy(name, 0.15)
    assert content_hash(tmp_path / "one") == content_hash(tmp_path / "two")
    assert [file.name for file in (tmp_path / "one").iterdir()] == ["config.json"]


def test_its_version_is_what_decision_records_have_always_said():
    assert ServedPolicy("epsilon_greedy", 0.1).version == "epsilon-greedy-0.1"
    assert ServedPolicy("linear_thompson", 0.25).version == "linear-thompson-0.25"


@pytest.mark.parametrize("exploration", [0.0, 1.0, -0.1])
def test_a_policy_without_a_floor_cannot_serve(exploration):
    with pytest.raises(ValueError, match="so that any other policy can be evaluated"):
        ServedPolicy("epsilon_greedy", exploration)


def test_a_policy_that_this_code_does_not_have_or_would_run_otherwise_is_refused(tmp_path):
    ServedPolicy("linear_thompson", 0.1).save(tmp_path / "p")
    config = read_json(tmp_path / "p" / "config.json")
    write_json(config | {"name": "oracle"}, tmp_path / "p" / "config.json")
    with pytest.raises(BundleError, match="no policy 'oracle' can serve"):
        ServedPolicy.load(tmp_path / "p")
    write_json(config | {"needs": NEEDS["linear_thompson"] | {"correction": 0}}, tmp_path / "p" / "config.json")
    with pytest.raises(BundleError, match="another distribution than the one that was judged"):
        ServedPolicy.load(tmp_path / "p")
