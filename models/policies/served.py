"""A policy that the service can run, as a bundle of a config.json alone: its name, its floor, and what it needs of the code."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from core.errors import BundleError
from models.bundle import read_config, writing_bundle

KIND = "served_policy"
Name = Literal["epsilon_greedy", "linear_thompson"]
NAMES: tuple[Name, ...] = get_args(Name)
NEEDS: dict[Name, dict[str, int]] = {"epsilon_greedy": {"slate": 2}, "linear_thompson": {"slate": 2, "correction": 1}}
"""By name: versions of the parts that decide. Raise one when the same config would draw from another distribution."""


@dataclass(frozen=True)
class ServedPolicy:
    """What distribution slates are drawn from.

    Attributes:
        name: one of `NAMES`.
        exploration: the floor, in (0, 1): every candidate that may stand at a position has at least this much over their number.
    """

    name: Name
    exploration: float

    def __post_init__(self) -> None:
        """Check both.

        Raises:
            ValueError: no such policy, or a floor outside (0, 1); without one, no other policy could be evaluated.
        """
        if self.name not in NAMES:
            raise ValueError(f"no policy {self.name!r} can serve; there are {', '.join(NAMES)}")
        if not 0 < self.exploration < 1:
            raise ValueError(f"exploration is {self.exploration}; it must lie in (0, 1), so that any other policy can be evaluated")

    @property
    def version(self) -> str:
        """What decision records call it; policies that learn append how far they had read."""
        return f"{self.name.replace('_', '-')}-{self.exploration:g}"

    @property
    def learns(self) -> bool:
        """Whether clicks change it while it serves."""
        return self.name == "linear_thompson"

    def save(self, path: Path) -> None:
        """Write the bundle, whole or not at all.

        Args:
            path: its folder; what stands there is replaced.
        """
        with writing_bundle(path, KIND, {"name": self.name, "exploration": self.exploration, "needs": NEEDS[self.name]}):
            pass

    @classmethod
    def load(cls, path: Path) -> "ServedPolicy":
        """Read the bundle.

        Args:
            path: its folder.

        Raises:
            BundleError: no such bundle, a policy that this code does not have, or one that drew from another distribution.
        """
        config = read_config(path, KIND)
        try:
            found = cls(config["name"], float(config["exploration"]))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{path}: no policy that this code can run ({error}). Use the code that wrote it.") from None
        if config.get("needs") != NEEDS[found.name]:
            raise BundleError(
                f"{path}: {found.name} was made for {config.get('needs')}, this code has {NEEDS[found.name]}: it would draw from another "
                "distribution than the one that was judged. Challenge with it anew: `adloom challenge`."
            )
        return found
