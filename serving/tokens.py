"""Bearer tokens with scopes, from the environment."""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.errors import ServiceError

SCOPES = {"serve": "ADLOOM_TOKENS_SERVE", "events": "ADLOOM_TOKENS_EVENTS", "admin": "ADLOOM_TOKENS_ADMIN"}
"""Scopes and the environment variable that holds each one's tokens, separated by commas; admin may do everything."""
SHORTEST = 20
"""Characters of a token at the least."""


@dataclass(frozen=True)
class Tokens:
    """SHA-256 digests of the tokens and the scopes of each; the tokens themselves are not kept.

    Attributes:
        digests: digest → scopes. Empty: everybody may ask for everything.
    """

    digests: Mapping[bytes, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] | None = None) -> "Tokens":
        """The tokens that the environment holds.

        Args:
            environment: the process's own when None.

        Raises:
            ServiceError: a token is too short to be safe.
        """
        given = os.environ if environment is None else environment
        found: dict[bytes, frozenset[str]] = {}
        for scope, variable in SCOPES.items():
            for token in filter(None, (part.strip() for part in given.get(variable, "").split(","))):
                if len(token) < SHORTEST:
                    raise ServiceError(
                        f"{variable}: a token has {len(token)} characters, {SHORTEST} are needed. Make one: openssl rand -hex 32"
                    )
                digest = hashlib.sha256(token.encode()).digest()
                found[digest] = found.get(digest, frozenset()) | {scope}
        return cls(found)

    def scopes_of(self, token: str) -> frozenset[str]:
        """What a token may do; every known one is compared, in constant time.

        Args:
            token: as it was sent.

        Returns:
            Scopes; none for a stranger's.
        """
        asked, found = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest(), frozenset[str]()
        for digest, scopes in self.digests.items():
            if hmac.compare_digest(asked, digest):
                found = scopes
        return found

    def __bool__(self) -> bool:
        return bool(self.digests)
