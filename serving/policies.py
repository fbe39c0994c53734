"""Which policy draws a shopper's slate: the champion, or for the canary's users the challenger."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.params import ServingParams
from models.policies.served import ServedPolicy
from registry.models import POLICY
from serving.champions import RIVAL, Found

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Policies:
    """The policies that serve.

    Attributes:
        champion: draws the slates of all who are not in the canary.
        challenger: draws the canary's, and is asked about all others; None when nobody challenges.
        share: of the users that the canary holds, in [0, 1).
        salt: of the canary; another challenger has other users.
    """

    champion: ServedPolicy
    challenger: ServedPolicy | None = None
    share: float = 0.0
    salt: str = ""

    @property
    def learns(self) -> ServedPolicy | None:
        """One of them that clicks change; None when there is none."""
        return next((policy for policy in (self.champion, self.challenger) if policy is not None and policy.learns), None)

    def of(self, user_id: str) -> tuple[ServedPolicy, ServedPolicy | None]:
        """Who draws a shopper's slate, and who is asked what it would have drawn.

        Args:
            user_id: a pseudonym.
        """
        if self.challenger is None:
            return self.champion, None
        if in_canary(user_id, salt=self.salt, share=self.share):
            return self.challenger, self.champion
        return self.champion, self.challenger


def in_canary(user_id: str, *, salt: str, share: float) -> bool:
    """Whether a shopper is in the canary: by a hash of the pseudonym alone, so always the same, in every process and after a restart.

    A larger share keeps everybody who was in a smaller one.

    Args:
        user_id: a pseudonym.
        salt: of the canary.
        share: of the users.
    """
    digest = hashlib.sha256(f"adloom canary\0{salt}\0{user_id}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * 2**64


def load_policies(bundles: Mapping[str, Found], path: Callable[[Found], Path], params: ServingParams) -> Policies:
    """The policies among the bundles; params.yaml's where no policy is champion.

    Args:
        bundles: by kind.
        path: bundle → its folder.
        params: say the policy by default, and the canary's share.

    Raises:
        BundleError: a policy that this code cannot run.
        RegistryError: a bundle's files cannot be had.
    """
    by_default = ServedPolicy(params.policy, params.exploration)
    champion = ServedPolicy.load(path(bundles[POLICY])) if POLICY in bundles else by_default
    if champion != by_default:
        _log.info("policy %s is champion; serving.policy and serving.exploration (%s) are not used", champion.version, by_default.version)
    if RIVAL not in bundles:
        return Policies(champion)
    challenger = ServedPolicy.load(path(bundles[RIVAL]))
    return Policies(champion, challenger, params.canary_share, bundles[RIVAL].bundle_hash) if challenger != champion else Policies(champion)
