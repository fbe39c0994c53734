"""Tone: read off a text, learned by the decoder, asked for by an order."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.vocabulary import TONES, Tone
from models.cues import tone_of
from models.generator.bundle import GeneratorBundle, make_reviewer
from models.generator.choice import best_first, tone_fit
from models.generator.facts import fit_facts
from models.generator.gpt import GptGenerator, Sampling
from models.generator.quality import fit_targets
from models.generator.training import CopyData, batches


@pytest.mark.parametrize(
    ("text", "tone"),
    [
        ("快来冲！这双鞋太酷啦", Tone.LIVELY),
        ("陪家人慢慢走，安心又温暖", Tone.WARM),
        ("采用缓震科技，实测性能提升", Tone.EXPERT),
        ("这双鞋是黑色的", None),
        ("温柔的科技", None),
    ],
)
def test_a_text_speaks_in_the_tone_it_has_most_words_of(text, tone):
    assert tone_of(text) == tone


def toned(shop, n=240):
    """Copies of a tone, as many of each as there are, up to a third of n."""
    of: dict[str, list] = {tone: [] for tone in TONES}
    for copy in shop.copies:
        tone = tone_of(copy.text)
        if tone is not None and len(of[tone]) < n // len(TONES):
            of[tone].append(copy)
    return [copy for copies in of.values() for copy in copies]


def taught(shop, copies, steps=300):
    model = shop.model()
    prompts, _ = model.prompts([replace(copy.request, tone=tone_of(copy.text)) for copy in copies])
    nobody = np.zeros((len(copies), 0))
    data = CopyData(prompts, [model.tokens(copy.lesson) for copy in copies], torch.zeros(len(copies), 1), nobody, torch.zeros(0, 1))
    optimiser, rng, done = torch.optim.AdamW(model.decoder.train().parameters(), lr=0.01), np.random.default_rng(0), 0
    while done < steps:
        for batch in batches(data, 32, model.decoder.shape, rng):
            loss, _ = model.decoder.loss(batch.prompts, batch.tokens)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            done += 1
    model.decoder.eval()
    return model


def test_a_decoder_writes_in_the_tone_that_is_asked_for(shop):
    of: dict[str, dict] = {}
    for copy in shop.copies:
        of.setdefault(copy.request.item_id, {}).setdefault(tone_of(copy.text), copy)
    found = next(found for found in of.values() if set(TONES) <= set(found))
    place = found[TONES[0]].request
    copies = [replace(found[tone], request=place) for tone in TONES]  # the tone alone tells them apart
    generator = GptGenerator(taught(shop, copies * 8), Sampling(0.5, 0.95))
    for tone, copy in zip(TONES, copies, strict=True):
        (texts,) = generator.write([replace(place, tone=tone)], 8, np.random.default_rng(1))
        beginnings = Counter(text[:3] for text in texts)
        assert beginnings[copy.text[:3]] >= 6, (tone, beginnings)
    (texts,) = generator.write([place], 24, np.random.default_rng(1))
    assert len({text[:3] for text in texts}) > 1  # nobody asked: any


def test_half_of_the_lessons_and_all_of_validation_name_no_tone(shop):
    copies, model = toned(shop), shop.model()
    nobody = np.zeros((len(copies), 0))

    def data(*, tones: bool) -> CopyData:
        prompts, _ = model.prompts([replace(copy.request, tone=tone_of(copy.text) if tones else None) for copy in copies])
        return CopyData(prompts, [model.tokens(copy.lesson) for copy in copies], torch.zeros(len(copies), 1), nobody, torch.zeros(0, 1))

    learned = torch.cat([batch.prompts.tone for batch in batches(data(tones=True), 32, model.decoder.shape, np.random.default_rng(2))])
    assert 0.4 < (learned == 0).float().mean() < 0.6
    assert set(learned.tolist()) == {0, 1, 2, 3}
    unseen = torch.cat([batch.prompts.tone for batch in batches(data(tones=False), 32, model.decoder.shape, None)])
    assert not unseen.any()


def test_an_unknown_tone_is_refused(shop):
    with pytest.raises(ValueError, match="shrill"):
        shop.model().prompts([replace(shop.copies[0].request, tone="shrill")])


def test_of_accepted_candidates_the_one_in_the_tone_comes_first(shop):
    facts = fit_facts(list(shop.products.values()), shop.copies, shop.copies[:9])
    reviewer = make_reviewer(facts, [], shop.vocabulary, levels=[], targets=fit_targets(shop.copies, facts), max_copied_span=20)
    request = toned(shop)[0].request
    texts = list(dict.fromkeys(copy.text for copy in shop.copies if copy.request.item_id == request.item_id))
    for tone in {tone_of(text) for text in texts} - {None}:
        ordered = best_first(texts, replace(request, tone=tone), reviewer)
        accepted = [text for text in ordered if reviewer.review(text, replace(request, tone=tone)).accepted]
        fitting = [tone_fit(text, tone) for text in accepted]
        assert not accepted or fitting[0] == max(fitting)


def test_worth_counts_the_tone_only_where_one_is_asked_for(shop):
    bundle = GeneratorBundle.__new__(GeneratorBundle)
    object.__setattr__(bundle, "response", None)
    plain = shop.copies[0].request
    assert bundle.worth(plain, "快来冲！太酷啦", 0.5) == 0.5
    lively = replace(plain, tone=Tone.LIVELY)
    assert bundle.worth(lively, "快来冲！太酷啦", 0.5) > bundle.worth(lively, "这双鞋是黑色的", 0.5) > bundle.worth(lively, "采用科技", 0.5)
