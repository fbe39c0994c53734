"""The ranker: calibrated p_click and p_convert. Training lives in `models.ranker.training`, which serving never imports."""

from models.ranker.bundle import RankerBundle
from models.ranker.scorers import Prediction

__all__ = ["Prediction", "RankerBundle"]
