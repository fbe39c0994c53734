"""A request as words, and a copy as a language model learns it.

Brand and price are never spelled by the model: they stand as marks in the order and in the copy, and the product's own take their
place afterwards; a text with a mark that the product cannot fill is thrown away. Other attributes are plain words.
"""

import re

from core.vocabulary import Channel, Scene
from models.generator.request import CopyRequest
from models.generator.slots import BRAND, PRICE, Slot, delexicalise, slots_of

_MARKS = {BRAND: "〔品牌〕", PRICE: "〔价格〕"}
_ANY_MARK = re.compile("|".join(map(re.escape, _MARKS.values())))
_SCENES = {Scene.PRODUCT: "商品介绍", Scene.PROMOTION: "促销", Scene.BRAND: "品牌形象", Scene.CROSS_SELL: "搭配推荐"}
_CHANNELS = {Channel.ONSITE: "站内", Channel.SOCIAL: "社交", Channel.SEARCH: "搜索"}
_VALUES = 24
_VALUE_LENGTH = 40


def order_of(request: CopyRequest) -> str:
    """What the model is asked: product, scene, channel, tone when there is one; it ends where the copy begins.

    Args:
        request: the order; an attribute is cut to 40 characters, and at most 24 are told.
    """
    pairs = [f"{key.strip()[:_VALUE_LENGTH]}：{value.strip()[:_VALUE_LENGTH]}" for key, value in request.attributes[:_VALUES]]
    lines = [f"商品：{request.title[: 2 * _VALUE_LENGTH]}", f"品类：{request.category[:_VALUE_LENGTH]}"]
    slots = {slot.name: slot for slot in slots_of(request)}
    if pairs:
        lines.append(f"属性：{'；'.join(pairs)}")
    lines += [f"{name}：{mark}" for name, slot, mark in (("品牌", BRAND, _MARKS[BRAND]), ("价格", PRICE, _MARKS[PRICE])) if slot in slots]
    lines.append(f"场景：{_SCENES.get(Scene(request.scene), request.scene)}，{_CHANNELS.get(Channel(request.channel), request.channel)}")
    tone = getattr(request, "tone", None)
    if tone:
        lines.append(f"语气：{tone}")
    return "\n".join(_unbranded(lines, slots)) + "\n文案："


def _unbranded(lines: list[str], slots: dict[str, Slot]) -> list[str]:
    """The brand inside a title becomes its mark too."""
    return [line.replace(slots[BRAND].value, _MARKS[BRAND]) for line in lines] if BRAND in slots else lines


def marked(text: str, request: CopyRequest) -> str:
    """A training copy with brand and price as marks.

    Args:
        text: a copy written for the product.
        request: its order.
    """
    held = [slot for slot in slots_of(request) if slot.name in _MARKS]
    return "".join(piece if isinstance(piece, str) else _MARKS[held[piece].name] for piece in delexicalise(text, held))


def filled(text: str, request: CopyRequest) -> str | None:
    """A written text with the product's brand and price in place of the marks.

    Args:
        text: what the model wrote.
        request: its order.

    Returns:
        The text; None when it names a brand or price that the product does not have, or is empty.
    """
    for slot in slots_of(request):
        if slot.name in _MARKS:
            text = text.replace(_MARKS[slot.name], slot.value)
    text = text.split("\n")[0].strip()
    return text if text and not _ANY_MARK.search(text) else None
