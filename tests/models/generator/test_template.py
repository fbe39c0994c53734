"""The template says whole sentences where it can, and says nothing twice."""

from dataclasses import replace

import numpy as np
import pytest

from core.vocabulary import CHANNELS, SCENES
from models.generator.request import CopyRequest
from models.generator.template import TemplateGenerator

SHOE = CopyRequest("p1", "驰野 透气网面运动鞋", "运动健身", "驰野", None, (("鞋面", "透气网面"), ("颜色", "云朵白")))


def written(request: CopyRequest) -> list[str]:
    return TemplateGenerator().write([request], 8, np.random.default_rng(0))[0]


@pytest.mark.parametrize("channel", [channel for channel in CHANNELS if channel != "search"])
@pytest.mark.parametrize("scene", SCENES)
def test_short_frames_stand_only_where_no_sentence_fits(scene: str, channel: str) -> None:
    placed = replace(SHOE, scene=scene, channel=channel)
    assert all("透气网面" in text and "云朵白" in text and text.endswith("。") for text in written(placed))
    assert len(written(replace(placed, attributes=()))) >= 1
    assert all(len(text) <= 8 for text in written(replace(placed, limit=8)))


def test_a_product_without_a_brand_is_not_named_twice_in_a_breath() -> None:
    for text in written(replace(SHOE, brand=None, channel="social")):
        assert "运动鞋：运动鞋" not in text
        assert text.count("运动鞋") == 1 or "这款运动鞋" in text
