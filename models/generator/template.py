"""The template baseline: sentences written by us for each scene and channel, filled with the product's own words.

A title with Chinese characters gets Chinese sentences, any other English ones.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.vocabulary import Channel, Origin, Scene
from models.generator.request import CopyRequest
from models.generator.slots import slots_of

_FRAMES: dict[str, dict[str, tuple[str, ...]]] = {
    Scene.PRODUCT: {
        Channel.SEARCH: ("{name}，{a}", "{a}的{noun}", "{name}：{a}", "{noun}，{a}，{b}"),
        Channel.ONSITE: (
            "{name}，{a}，{b}，日常用着顺手。",
            "想找{a}的{noun}？看看{name}，{b}。",
            "{name}：{a}，{b}，一看就懂的好用。",
            "{a}加{b}，{name}把细节放在用得到的地方。",
        ),
        Channel.SOCIAL: (
            "最近常用的{noun}：{name}。{a}，{b}，用着省心，分享给正在挑的你。",
            "挑{noun}，先看{a}，再看{b}。{name}两样都有，放进清单慢慢比。",
        ),
    },
    Scene.PROMOTION: {
        Channel.SEARCH: ("{name}，{a}，看看", "{a}的{noun}，来挑"),
        Channel.ONSITE: ("{name}在架，{a}，{b}，喜欢就带走。", "想添一件{noun}？{name}，{a}，{b}，现在就来挑。"),
        Channel.SOCIAL: ("清单里的{noun}该安排了：{name}，{a}，{b}，挑中再下手。", "{name}来了，{a}，{b}，想要的来看看。"),
    },
    Scene.BRAND: {
        Channel.SEARCH: ("{brand}{noun}，{a}", "{brand}，{a}的{noun}"),
        Channel.ONSITE: ("{brand}做{noun}，讲究{a}，也在意{b}。", "{name}：{a}，{b}，细节里见用心。"),
        Channel.SOCIAL: (
            "认识{brand}，从这款{noun}开始：{a}，{b}，用过就知道顺手。",
            "{brand}把{a}和{b}放进一款{noun}里，留给认真过日子的你。",
        ),
    },
    Scene.CROSS_SELL: {
        Channel.SEARCH: ("再配一款{noun}，{a}", "顺手带上{name}"),
        Channel.ONSITE: ("刚挑好的东西，再配上{name}：{a}，{b}。", "顺手带一款{noun}，{a}，{b}，搭着用更方便。"),
        Channel.SOCIAL: ("东西要搭着用才顺手：再添一款{name}，{a}，{b}。", "配套清单里还差一款{noun}？{name}，{a}，{b}。"),
    },
}
_ENGLISH: dict[str, dict[str, tuple[str, ...]]] = {
    Scene.PRODUCT: {
        Channel.SEARCH: ("{name}: {a}", "{name}, {a}", "{name}"),
        Channel.ONSITE: ("{name}: {a}, {b}.", "Looking for {noun}? {name}, {a}.", "{name}, {a}. Handy to have at home."),
        Channel.SOCIAL: ("On the list this week: {name}. {a}, {b}.", "First look at {a}, then at {b}: {name} has both."),
    },
    Scene.PROMOTION: {
        Channel.SEARCH: ("{name}, have a look", "{noun}: {a}"),
        Channel.ONSITE: ("{name} is on the shelf: {a}, {b}.", "Out of {noun}? {name}, {a}."),
        Channel.SOCIAL: ("Time to fill the basket: {name}, {a}, {b}.", "{name} is here: {a}. Have a look."),
    },
    Scene.BRAND: {
        Channel.SEARCH: ("{noun} by {brand}", "{brand}: {noun}"),
        Channel.ONSITE: ("{noun} by {brand}: {a}, {b}.", "{brand} makes {noun}: {a}."),
        Channel.SOCIAL: ("Meet {brand}, starting with {noun}: {a}, {b}.", "{brand} puts {a} and {b} into {noun}."),
    },
    Scene.CROSS_SELL: {
        Channel.SEARCH: ("Goes well with it: {name}", "Add {name}"),
        Channel.ONSITE: ("One more for the basket: {name}, {a}.", "Goes well with what you picked: {name}, {a}."),
        Channel.SOCIAL: ("Better together: add {name}, {a}, {b}.", "Still missing {noun}? {name}, {a}."),
    },
}
_SHORT_ENGLISH = ("{name}: {a}", "{name}", "{noun}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_SHORT = ("{name}，{a}", "{a}的{noun}", "{noun}，{a}", "{name}", "{noun}")


@dataclass(frozen=True)
class TemplateGenerator:
    """Frames filled with brand, noun and attribute values; shorter ones where none of the scene's can be filled or fits the channel."""

    name: str = Origin.TEMPLATE

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator) -> list[list[str]]:
        """See `CopyGenerator.write`; at least one text a request, whatever is known of the product, and seldom as many as are asked for.

        Args:
            requests: the orders.
            n: texts a request.
            rng: the stream.
        """
        found = []
        for request in requests:
            chinese = _CHINESE.search(request.title) is not None
            frames = (_FRAMES if chinese else _ENGLISH)[request.scene][request.channel]
            limit = request.max_length
            texts: list[str] = []
            for some in ([frames[index] for index in rng.permutation(len(frames))] * 2, _SHORT if chinese else _SHORT_ENGLISH):
                filled = (_fill(frame, request, rng) for frame in some)
                texts = list(dict.fromkeys(text for text in filled if text and len(text) <= limit))[:n]
                if texts:
                    break
            found.append(texts or [request.title[:limit]])
        return found

    def save(self, folder: Path) -> None:
        """Nothing: its sentences are code.

        Args:
            folder: not used.
        """


def _fill(frame: str, request: CopyRequest, rng: np.random.Generator) -> str | None:
    slots = slots_of(request)
    values = [slot.value for slot in slots if slot.name.startswith("@")]
    noun = next((slot.value for slot in slots if slot.name == "noun"), "") or request.category
    name = f"{request.brand or ('这款' if '{noun}' in frame else '')}{noun}"  # a frame would say the bare noun twice
    if not _CHINESE.search(request.title):  # an English title is a phrase: no word of it stands for the whole
        noun = request.title
        name = f"{request.brand} {noun}" if request.brand and request.brand.lower() not in noun.lower() else noun
    words = {"noun": noun, "name": name, "brand": request.brand}
    for letter, index in zip("ab", rng.permutation(len(values)), strict=False):
        words[letter] = values[index]
    try:
        filled = frame.format_map({key: value for key, value in words.items() if value})
    except KeyError:
        return None
    return filled
