"""Keyed hashes of user ids. The key is never written; its fingerprint is, and a mismatch is refused."""

import hashlib
import hmac
import os
from collections.abc import Iterable

from core.errors import IdentityError

KEY_VARIABLE = "ADLOOM_USER_KEY"
DEVELOPMENT_KEY = b"adloom-development-key-for-synthetic-shoppers-only"


def user_key(*, synthetic: bool) -> bytes:
    """The key that user ids are hashed with.

    Args:
        synthetic: True for the market, whose shoppers are nobody: the development key serves when none is set.

    Returns:
        The key's bytes.

    Raises:
        IdentityError: real users and no key of at least 16 characters in ADLOOM_USER_KEY.
    """
    key = os.environ.get(KEY_VARIABLE, "")
    if len(key) >= 16:
        return key.encode()
    if key:
        raise IdentityError(f"{KEY_VARIABLE} has {len(key)} characters; at least 16 are needed. Make one with `openssl rand -hex 32`.")
    if synthetic:
        return DEVELOPMENT_KEY
    raise IdentityError(f"real users need a key: set {KEY_VARIABLE} (make one with `openssl rand -hex 32`) and keep it secret.")


def fingerprint(key: bytes) -> str:
    """The first 8 hexadecimal digits of the key's SHA-256: says which key, tells nothing about it."""
    return hashlib.sha256(key).hexdigest()[:8]


def pseudonymise(user_ids: Iterable[str], key: bytes) -> list[str]:
    """HMAC-SHA256 of each user id, 32 hexadecimal digits.

    Args:
        user_ids: raw ids.
        key: see `user_key`.

    Returns:
        One pseudonym an id, in order.
    """
    return [hmac.new(key, user_id.encode(), hashlib.sha256).hexdigest()[:32] for user_id in user_ids]


def check_fingerprint(expected: str, key: bytes) -> None:
    """Refuse to mix data of two keys.

    Args:
        expected: the fingerprint that data or a bundle carries.
        key: the key in force.

    Raises:
        IdentityError: the fingerprints differ.
    """
    found, own = fingerprint(key), fingerprint(DEVELOPMENT_KEY)
    if found == expected:
        return
    if expected == own:
        raise IdentityError(
            f"the data are the market's, hashed with its own key, but {KEY_VARIABLE} is set (key {found}): unset it, or collect anew."
        )
    held = "not set" if found == own else f"key {found}"
    raise IdentityError(f"the data were hashed with key {expected}, but {KEY_VARIABLE} is {held}: set the old key again, or collect anew.")
