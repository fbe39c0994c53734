"""What human copy says next, beside a decoder's own chances."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import BundleError
from models.generator import memory as module
from models.generator.copy_model import CopyModel
from models.generator.gpt import GptGenerator, Sampling
from models.generator.memory import PhraseMemory, Subject, contexts, named_slots
from models.generator.memory_share import losses_by_share, memory_of, remember
from models.generator.sampling import sample
from models.generator.training import CopyData
from models.generator.vocabulary import BOS, EOS, PAD, UNK


def data_of(model, copies):
    prompts, _ = model.prompts([copy.request for copy in copies])
    tokens = [model.tokens(copy.lesson) for copy in copies]
    return CopyData(prompts, tokens, torch.zeros(len(copies), 3, 4), np.zeros((len(copies), 0)), torch.zeros(0, 5))


def counted(shop, copies, most=module.MOST):
    model = shop.model()
    data = data_of(model, copies)
    shape = model.decoder.shape
    return (
        model,
        data,
        PhraseMemory.of(data.prompts, data.tokens, tokens=shape.tokens, names=shape.names, noun=model.book.name("noun"), most=most),
    )


def three_copies(shop):
    """Orders of one category, scene and channel; what stands in the texts does not matter."""
    places = {}
    for copy in shop.copies:
        request = copy.request
        places.setdefault((request.category, request.scene, request.channel), []).append(copy)
    return max(places.values(), key=len)[:3]


def test_chances_are_those_of_the_formula_counted_by_hand(shop):
    model = shop.model()
    prompts, _ = model.prompts([copy.request for copy in three_copies(shop)])
    prompts = replace(prompts, values=prompts.values.clone())
    prompts.values[:, 1:][prompts.names[:, 1:] == model.book.name("noun")] = 7  # one noun
    a, b, c = 40, 41, 42
    texts = [[BOS, a, b, EOS], [BOS, a, c, EOS], [BOS, a, b, EOS]]
    shape = model.decoder.shape
    memory = PhraseMemory.of(prompts, texts, tokens=shape.tokens, names=shape.names, noun=model.book.name("noun"))
    before = torch.tensor([[BOS, a]])
    found = memory.chances(before, Subject.of(prompts, memory.noun).keep(torch.arange(1)))[0]
    # one place: contexts of 0, 1 and 2 tokens, anywhere and by category, of 1 and 2 by noun;
    # b stands after a twice, c once, and so after begin and a.
    # Without a token: a 3, b 2, c 1, end 3; D = n1 / (n1 + 2 n2) = 1 / 3. After one token: a after begin 3, b after a 2, c after a 1,
    # end after b 2, end after c 1: n1 = 2, n2 = 2, D = 1 / 3. After two: the same counts.
    third = 1 / 3
    p = {token: (n - third) / 9 for token, n in ((a, 3), (b, 2), (c, 1), (EOS, 3))}

    def interpolated(p, n, total):
        return {token: max(n.get(token, 0) - third, 0.0) / total + third * len(n) / total * p[token] for token in p}

    for n, total in (({b: 2, c: 1}, 3), ({b: 2, c: 1}, 3), ({a: 3, b: 2, c: 1, EOS: 3}, 9), *[({b: 2, c: 1}, 3)] * 4):
        p = interpolated(p, n, total)
    for token, chance in p.items():
        assert float(found[token]) == pytest.approx(chance, abs=1e-6)
    assert float(found.sum()) == pytest.approx(sum(p.values()), abs=1e-6)


def test_what_is_asked_step_by_step_is_what_is_asked_of_the_whole_text(shop):
    _, data, memory = counted(shop, shop.copies[:80])
    some = torch.arange(5)
    prompts = data.prompts.take(some)
    recall = memory.recall(prompts)
    length = min(len(data.tokens[row]) for row in some.tolist())
    texts = torch.tensor([data.tokens[row][:length] for row in some.tolist()])
    whole = contexts(named_slots(texts, prompts.names, memory.tokens))
    for place in range(length - 1):
        if place:
            recall.said(texts[:, place])
        assert torch.equal(recall.before, whole[:, place])
        chances = recall.chances()
        assert float(chances.sum(1).max()) <= 1 + 1e-5
        assert float(chances[:, [PAD, BOS, EOS, UNK]].sum()) == 0
        assert bool(chances[:, memory.tokens :][~prompts.mask[:, 1:]].eq(0).all())  # a product's missing slots are never said
    kept = recall.keep(torch.tensor([3, 1]))
    assert torch.equal(kept.chances(), recall.chances()[[3, 1]])
    assert torch.equal(recall.repeat(2).before, recall.before.repeat_interleave(2, 0))


def test_a_mixture_is_a_distribution_and_leaves_the_end_to_the_decoder(shop):
    _, data, memory = counted(shop, shop.copies[:80])
    prompts = data.prompts.take(torch.arange(6))
    logits = torch.randn(6, memory.tokens + prompts.names.shape[1] - 1, generator=torch.Generator().manual_seed(2))
    logits[:, memory.tokens :].masked_fill_(~prompts.mask[:, 1:], float("-inf"))
    own = logits.softmax(-1)
    for share in (0.0, 0.4, 0.9):
        mixed = memory.recall(prompts).mixed(logits, share).exp()
        torch.testing.assert_close(mixed.sum(1), torch.ones(6))
        torch.testing.assert_close(mixed[:, EOS], own[:, EOS])
        if not share:
            torch.testing.assert_close(mixed, own)
    nowhere = replace(prompts, values=torch.full_like(prompts.values, 9999), scene=torch.full_like(prompts.scene, 77))
    torch.testing.assert_close(memory.recall(nowhere).mixed(logits, 0.4).exp().sum(1), torch.ones(6))


def test_slots_of_one_name_share_what_the_name_is_worth(shop):
    _, data, memory = counted(shop, shop.copies[:80])
    prompts = data.prompts.take(torch.arange(1))
    names, values, mask = (torch.cat([part, part[:, 1:2]], 1) for part in (prompts.names, prompts.values, prompts.mask))
    alone, shared = memory.recall(prompts), memory.recall(replace(prompts, names=names, values=values, mask=mask))
    first, again = alone.chances()[0, memory.tokens :], shared.chances()[0, memory.tokens :]
    assert float(first[0]) > 0
    torch.testing.assert_close(again[[0, -1]], first[[0, 0]] / 2)
    torch.testing.assert_close(again[1:-1], first[1:])


def test_a_memory_is_read_back_as_it_was_and_forgets_what_is_rare_first(shop, tmp_path):
    _, data, memory = counted(shop, shop.copies)
    memory.save(tmp_path / "memory.safetensors")
    again = PhraseMemory.load(tmp_path / "memory.safetensors")
    recall = memory.recall(data.prompts.take(torch.arange(4)))
    assert torch.equal(replace(recall, memory=again).chances(), recall.chances())
    size = sum(len(level.ids) for level in memory.levels)
    _, _, small = counted(shop, shop.copies, most=size // 3)
    assert 0 < sum(len(level.ids) for level in small.levels) <= size // 3
    assert len(small.levels[0].ids) == len(memory.levels[0].ids)  # what stands everywhere stays
    for level, whole in zip(small.levels, memory.levels, strict=True):
        assert set(level.keys.tolist()) <= set(whole.keys.tolist())


def test_a_decoder_that_knows_nothing_writes_what_it_remembers(shop):
    model, data, memory = counted(shop, shop.copies)
    for parameter in model.decoder.parameters():
        torch.nn.init.zeros_(parameter)
    prompts = data.prompts.take(torch.arange(20))
    how = {"temperature": 1.0, "top_p": 0.9, "repeats": 9}
    alone = sample(model.decoder, prompts, 1, np.random.default_rng(1), **how)
    with_it = sample(model.decoder, prompts, 1, np.random.default_rng(1), memory=memory, share=0.99, **how)

    def known(texts):
        pairs = {pair for ids in data.tokens for pair in itertools.pairwise(ids)}
        said = [pair for (ids,) in texts for pair in itertools.pairwise(ids)]
        return np.mean([pair in pairs for pair in said])

    assert known(alone) < 0.05
    assert known(with_it) > 0.7
    assert sample(model.decoder, prompts, 1, np.random.default_rng(1), memory=memory, share=0.0, **how) == alone


def test_the_share_is_what_makes_unseen_copy_likeliest_and_goes_with_the_bundle(shop, tmp_path):
    model = shop.model()
    copies = shop.copies
    train, held_out = data_of(model, copies[::2]), data_of(model, copies[1::2])
    remembering, told = remember(model, None, memory_of(model, train), held_out)
    losses = losses_by_share(model, None, remembering.memory, held_out)
    assert told.share == min(losses, key=losses.get) > 0
    assert told.loss == losses[told.share] < told.loss_alone == losses[0.0]
    generator = GptGenerator(remembering, Sampling(0.8, 0.95))
    generator.save(tmp_path / "gpt")
    requests = [copy.request for copy in copies[1:9:2]]
    written = generator.write(requests, 2, np.random.default_rng(3))
    assert GptGenerator.load(tmp_path / "gpt").write(requests, 2, np.random.default_rng(3)) == written
    (tmp_path / "gpt" / "memory.safetensors").unlink()
    with pytest.raises(BundleError, match="memory"):
        GptGenerator.load(tmp_path / "gpt")
    assert written != GptGenerator(model, Sampling(0.8, 0.95)).write(requests, 2, np.random.default_rng(3))


def test_without_copies_to_choose_by_nothing_is_remembered(shop):
    model = shop.model()
    train, nobody = data_of(model, shop.copies[:20]), data_of(model, shop.copies[:20])
    remembering, told = remember(
        model, None, memory_of(model, train), replace(nobody, tokens=[], prompts=nobody.prompts.take(torch.arange(0)))
    )
    assert (remembering.memory, remembering.share, told.loss, told.loss_alone) == (None, 0.0, 0.0, 0.0)


def test_a_bundle_from_before_is_read_without_a_memory(shop, tmp_path):
    model = shop.model()
    model.save(tmp_path)
    assert not (tmp_path / "memory.safetensors").exists()
    again = CopyModel.load(tmp_path)
    assert again.memory is None
    assert again.share == 0.0
