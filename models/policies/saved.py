"""A policy as a bundle: config.json and its arrays; no pickle."""

from pathlib import Path

from core.errors import BundleError
from models.bundle import load_arrays, read_config, save_arrays, writing_bundle
from models.policies.counts import EpsilonGreedy, Greedy, Thompson, Uniform
from models.policies.interface import Policy, PolicyState
from models.policies.linear import LinearThompson

KIND = "policy"
ARRAYS = "learnt.safetensors"
POLICIES: dict[str, type[Policy]] = {kind.name: kind for kind in (Uniform, EpsilonGreedy, Greedy, Thompson, LinearThompson)}


def restore(state: PolicyState) -> Policy:
    """The policy that a state was taken of.

    Args:
        state: as `Policy.state` gave it.

    Returns:
        The policy; it goes on as if it had never been saved.

    Raises:
        BundleError: a policy of a name that this code does not know, or a state that lacks something.
    """
    name = str(state.config.get("name"))
    if name not in POLICIES:
        raise BundleError(f"a policy named {name!r}; this code knows {', '.join(POLICIES)}. Use the code that wrote it.")
    try:
        return POLICIES[name].restore(state)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(
            f"the state of policy {name} is incomplete or damaged ({error!r}). Save it again from a running policy."
        ) from None


def save_policy(policy: Policy, path: Path) -> None:
    """Write a bundle, whole or not at all.

    Args:
        policy: what to save.
        path: the bundle's folder; what stands there is replaced.
    """
    state = policy.state()
    with writing_bundle(path, KIND, state.config) as draft:
        save_arrays(state.arrays, draft / ARRAYS)


def load_policy(path: Path) -> Policy:
    """Read a bundle that `save_policy` wrote.

    Args:
        path: the bundle's folder.

    Returns:
        The policy.

    Raises:
        BundleError: no such bundle, or see `restore`.
    """
    return restore(PolicyState(read_config(path, KIND), load_arrays(path / ARRAYS)))
