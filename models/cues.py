"""What can be counted on the face of a copy: its length, its tone, what it names of the product. No model, no fit.

A cue is a plain number in about [0, 1] (or [-1, 1] for the length), so that a shopper's past responses to cues can be
averaged and compared (`models.features.space`). Word lists are short on purpose: the text's vector carries the rest.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.vocabulary import LENGTH_LIMITS, TONES, Tone

_WORD_LISTS = {
    "lively words": "冲 嗨 燃 酷 爆 快来 赶紧 赶快 走起 安排 潮 玩 哇 啦 呀 咯 嘿 哈 超 绝 心动 种草 宝藏 元气 活力 开心 惊喜 一起 出发 "
    "来一 搞定 拿下 wow hey fun cool",
    "warm words": "温暖 温柔 陪 家人 爱 安心 呵护 贴心 舒心 幸福 妈妈 孩子 宝宝 用心 守护 放心 暖 悄悄 慢慢 日子 生活 轻轻 懂你 照顾 "
    "牵挂 小小 柔 歇 好好 家里 回家 一家 love care warm home gentle",
    "expert words": "采用 科技 专业 工艺 参数 性能 材质 测试 结构 配方 精准 技术 系统 支持 提升 有效 搭载 实测 标准 含量 升级 设计 "
    "配合 适合 适用 建议 选用 规格 兼顾 数据 成分 确保 降低 均匀 稳定 technology precision tested performance",
    "offer words": "优惠 折 满减 立减 限时 特价 福利 券 直降 到手 抢 活动 省 买一 包邮 秒杀 今日 今天 sale deal free",
    "address": "你 您 咱 我们 your",
}
_EMOJI = re.compile("[\U0001f300-\U0001faff☀-➿⭐✨]")
_WORDS = {name: re.compile("|".join(words.split()), re.IGNORECASE) for name, words in _WORD_LISTS.items()}
_MARKS = {
    "exclamation": re.compile("[!！~～]"),
    "question": re.compile("[?？]"),
    "emoji": _EMOJI,
    "digits": re.compile(r"\d+"),
    "clauses": re.compile("[,，。;；、.!！?？]"),
}
_FULL = {"exclamation": 2, "question": 1, "emoji": 1, "digits": 3, "clauses": 4}  # counts from which a mark counts as 1

CUES: tuple[str, ...] = ("length", *_WORDS, *_MARKS, "names brand", "names category", "attribute coverage", "attributes named")
"""Names of the columns of `cues`, in order."""


def text_cues(text: str, channel: str) -> list[float]:
    """The cues that need the text and its channel only: the first of `CUES`.

    Args:
        text: a copy.
        channel: where it is shown; its limit scales the length. An unknown channel counts as the longest limit.

    Returns:
        One number a cue: length in [-1, 1] (0 is half the limit), the rest in [0, 1].
    """
    limit = LENGTH_LIMITS.get(channel, max(LENGTH_LIMITS.values()))
    length = min(len(text) / limit, 1.0) * 2 - 1
    words = [min(len(pattern.findall(text)), 2) / 2 for pattern in _WORDS.values()]
    marks = [min(len(pattern.findall(text)), _FULL[name]) / _FULL[name] for name, pattern in _MARKS.items()]
    return [length, *words, *marks]


def tone_of(text: str) -> str | None:
    """The tone that a copy speaks in: the one whose words and marks it has most of.

    Args:
        text: a copy.

    Returns:
        One of `core.vocabulary.TONES`; None where it has none, or as much of two.
    """
    marks = len(_MARKS["exclamation"].findall(text)) + len(_MARKS["emoji"].findall(text))
    counts = {tone: len(_WORDS[f"{tone} words"].findall(text)) for tone in TONES}
    counts[Tone.LIVELY] += min(marks, 2)
    first, second = sorted(counts.values(), reverse=True)[:2]
    return max(counts, key=lambda tone: counts[tone]) if first > second else None


def named_attributes(text: str, attributes: Sequence[tuple[str, str]]) -> list[int]:
    """Which of a product's attributes a text names by their value.

    Args:
        text: a copy.
        attributes: ``(key, value)`` of the product.

    Returns:
        Places in ``attributes``, rising.
    """
    return [place for place, (_, value) in enumerate(attributes) if value and value in text]


def cues(text: str, channel: str, *, brand: str, category: str, attributes: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """All cues of a copy for a product in a channel.

    Args:
        text: the copy.
        channel: where it is shown.
        brand: of the product; "" when unknown.
        category: of the product.
        attributes: of the product.

    Returns:
        ``(len(CUES),)``.
    """
    named = named_attributes(text, attributes)
    coverage = len(named) / len(attributes) if attributes else 0.0
    product = [float(bool(brand) and brand in text), float(bool(category) and category in text), coverage, min(len(named), 3) / 3]
    return np.array([*text_cues(text, channel), *product], dtype=np.float32)
