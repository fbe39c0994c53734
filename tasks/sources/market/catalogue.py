"""The embedded catalogue's source text: one YAML file a category, checked on loading."""

from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from core.errors import SourceError
from core.vocabulary import CHANNELS, SCENES, TONES

FOLDER = Path(__file__).parent / "catalogue"
SLOTS = ("brand", "type", "title", "point", "point2", "moment", "benefit", "benefit2", "story", "offer", "complement", "price")
"""Words that a frame may leave open."""

Frames = dict[str, dict[str, dict[str, list[str]]]]


class Entry(BaseModel):
    """A part of a catalogue file: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Kind = TypeVar("Kind", bound=Entry)


class Brand(Entry):
    """A brand: `tier` 0 is the cheapest, 1 the dearest; `story` holds clauses that read on after its name."""

    name: str = Field(min_length=1)
    tier: float = Field(ge=0, le=1)
    story: list[str] = Field(min_length=1)


class ProductType(Entry):
    """A type of product: price range in yuan, attribute values by key, and what copy may say of each value."""

    name: str = Field(min_length=1)
    price: tuple[float, float]
    complements: list[str]
    queries: list[str] = Field(min_length=1)
    attributes: dict[str, list[str]] = Field(min_length=1)
    points: dict[str, list[str]]
    moments: list[str] = Field(min_length=1)
    benefits: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _holds_together(self) -> "ProductType":
        low, high = self.price
        if not 0 < low <= high:
            raise ValueError(f"price of {self.name} is [{low}, {high}]; it must rise from above 0")
        values = {value for listed in self.attributes.values() for value in listed}
        if strays := sorted(set(self.points) - values):
            raise ValueError(f"points of {self.name} speak of {strays}, which no attribute lists")
        return self


class Category(Entry):
    """One category of the embedded marketplace; `season` is demand by month, January first."""

    category: str = Field(min_length=1)
    consumable: bool
    season: list[float] = Field(min_length=12, max_length=12)
    brands: list[Brand] = Field(min_length=1)
    types: list[ProductType] = Field(min_length=1)
    frames: Frames

    @model_validator(mode="after")
    def _frames_are_spelled_right(self) -> "Category":
        if min(self.season) <= 0:
            raise ValueError(f"season of {self.category} has {min(self.season)}; demand must be above 0")
        known = {"{" + slot + "}" for slot in SLOTS}
        for scene, tones in self.frames.items():
            for tone, channels in tones.items():
                for channel, frames in channels.items():
                    if scene not in SCENES or tone not in TONES or channel not in CHANNELS:
                        raise ValueError(f"frames of {self.category}: no {scene}/{tone}/{channel}; see core/vocabulary.py")
                    for frame in frames:
                        rest = frame
                        for slot in known:
                            rest = rest.replace(slot, "")
                        if "{" in rest or "}" in rest:
                            raise ValueError(f"frame {frame!r} of {self.category} has a slot other than {', '.join(SLOTS)}")
        return self


class Offer(Entry):
    """What promotion copy promises, for products within a price range in yuan."""

    text: str
    min_price: float = 0.0
    max_price: float = float("inf")


class CampaignPlan(Entry):
    """A campaign; days count from the last simulated day, money is yuan, null category means all."""

    name: str
    category: str | None
    first_day: int
    last_day: int
    scenes: list[str]
    channels: list[str]
    daily_budget: float = Field(gt=0)
    bid: float = Field(gt=0)


class Shared(Entry):
    """What all categories share."""

    anchors: list[str]
    offers: list[Offer] = Field(min_length=1)
    campaigns: list[CampaignPlan]


def load_categories(folder: Path = FOLDER) -> list[Category]:
    """Read and check every category file, in the order of their names.

    Args:
        folder: holds `NN_name.yaml` files.

    Raises:
        SourceError: no file, or a file breaks the schema; the message names the file and each fault.
    """
    paths = sorted(path for path in folder.glob("[0-9]*.yaml"))
    if not paths:
        raise SourceError(f"{folder} holds no category file; restore it with `git checkout {folder.name}`.")
    categories = [_load(path, Category) for path in paths]
    names = [category.category for category in categories]
    if doubles := sorted({name for name in names if names.count(name) > 1}):
        raise SourceError(f"{folder}: two files describe {', '.join(doubles)}; a category has one file.")
    return categories


def load_shared(folder: Path = FOLDER) -> Shared:
    """Read and check `shared.yaml`.

    Args:
        folder: the catalogue's folder.

    Raises:
        SourceError: no such file, or it breaks the schema.
    """
    return _load(folder / "shared.yaml", Shared)


def read_yaml_file(path: Path) -> Any:
    """The content of a YAML file of the market.

    Args:
        path: the file.

    Raises:
        SourceError: no such file, or not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SourceError(f"{path}: no such file; restore it with `git checkout {path.name}`.") from None
    except YAMLError as error:
        raise SourceError(f"{path}: not YAML: {error}") from None


def _load(path: Path, kind: type[Kind]) -> Kind:
    try:
        return kind.model_validate(read_yaml_file(path))
    except ValidationError as error:
        faults = "\n".join(f"  {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise SourceError(f"{path}: {error.error_count()} faults; mend them:\n{faults}") from None
