"""What is asked of the decision path, and what it answers: a request for a slate, the slate, and what its record needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from models.correction import Beliefs
from models.features import Responses
from models.history import History, micros
from models.pacing import Offer
from models.pool import Campaign
from models.recommender.scenes import LARGEST_SHARE
from models.retrieval import Cause


@dataclass(frozen=True)
class Choice:
    """One position of a slate, with everything that its decision record needs.

    Attributes:
        row: the creative's row in the pool.
        creative_id: what is shown.
        item_id: for which item.
        campaign: in which campaign, None outside campaigns.
        p_click: predicted probability of a click at position 0.
        p_convert: predicted probability of a conversion after a click.
        bid_micros: worth of a click.
        ecpm_micros: 1000 · p_click · bid.
        propensity: P(chosen | the positions above).
        marginal: P(chosen at this position), NaN where it was not computed.
        probability: P(item | shopper) of the recommender among the candidates' items.
        cause: why this item.
        explored: True when the policy thinks another candidate better that was left.
    """

    row: int
    creative_id: str
    item_id: str
    campaign: Campaign | None
    p_click: float
    p_convert: float
    bid_micros: int
    ecpm_micros: int
    propensity: float
    marginal: float
    probability: float
    cause: Cause
    explored: bool = False

    @property
    def reason(self) -> str:
        """The cause in one line, for a person."""
        return str(self.cause)


@dataclass(frozen=True)
class Rival:
    """Another policy than the one that decides, asked what it would have done.

    Attributes:
        exploration: its floor, in (0, 1).
        beliefs: what it goes by; None: the ranker alone.
    """

    exploration: float
    beliefs: Beliefs | None = None


@dataclass(frozen=True)
class Thought:
    """What a rival thinks of one position, given the positions above as they were shown.

    Attributes:
        propensity: P(it shows the same).
        own: mean p_click of what the deciding policy could have shown here.
        other: mean p_click of what the rival would have shown here.
    """

    propensity: float
    own: float
    other: float


@dataclass(frozen=True)
class Decision:
    """A slate and the set it was drawn from.

    Attributes:
        choices: one a position, topmost first; empty when nothing may be shown.
        candidates: creative ids that could have been drawn.
        audience: the shopper's audience.
        retrieval_version: how the candidates were found.
        thoughts: of the rival, one a position; empty without a rival.
        offer: what the request had to sell, for pacing to learn from; None where nobody asked.
    """

    choices: tuple[Choice, ...]
    candidates: tuple[str, ...]
    audience: str | None
    retrieval_version: str
    thoughts: tuple[Thought, ...] = ()
    offer: Offer | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Ask:
    """One request for a slate.

    Attributes:
        history: what the shopper did; events at or after ``now`` are not looked at.
        scene: why an ad is shown.
        channel: where.
        k: positions wanted.
        now: the moment of the decision, UTC.
        exploration: the policy's floor, in [0, 1].
        rng: the stream to draw from.
        size: candidates at the most.
        exclude: items that must not be shown.
        brand: in scene brand, whose items alone may be shown; None: brands near the shopper.
        responses: the shopper's answers to earlier ads, when known.
        multipliers: campaign_id → by what its bid is multiplied before the policy's distribution is formed, where that is not 1; at 0 the
            campaign takes no part. What a click costs stays the bid.
        watched: whether the decision shall say what the request had to sell.
        blocked: rows of the pool that a person has blocked.
        frequency_cap: how often one shopper may be shown one creative within 24 hours; 0: as often as the policy likes.
        category_share: of the slate, that one category fills at the most while there are others (`models.policies.variety`); in (0, 1].
        beliefs: what was learnt of the creatives since the ranker was trained, whose draws vote; None: the ranker alone decides.
        rival: is asked what it would have done; None: nobody is.
    """

    history: History
    scene: str
    channel: str
    k: int
    now: datetime
    exploration: float
    rng: np.random.Generator
    size: int = 50
    exclude: Sequence[str] = ()
    brand: str | None = None
    responses: Responses | None = None
    blocked: frozenset[int] = frozenset()
    frequency_cap: int = 0
    category_share: float = LARGEST_SHARE
    beliefs: Beliefs | None = None
    rival: Rival | None = None
    multipliers: Mapping[str, float] = field(default_factory=dict)
    watched: bool = False

    @property
    def moment(self) -> int:
        """``now`` in microseconds since 1970 UTC."""
        return int(micros(self.now)[0]) if self.now.tzinfo is None else round(self.now.timestamp() * 1_000_000)
