"""Network weights as named arrays and back."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

from core.errors import BundleError


def state_of(network: nn.Module) -> dict[str, np.ndarray]:
    """Copies of all weights and buffers by name.

    Args:
        network: any network on the processor.
    """
    return {name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()}


def load_state(network: nn.Module, arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Put weights into a network in place.

    Args:
        network: receives them.
        arrays: by name, as `state_of` gives them.
        path: where they came from, for the message.

    Raises:
        BundleError: names or shapes differ.
    """
    try:
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in arrays.items()})
    except RuntimeError as error:
        raise BundleError(f"{path}: weights do not fit the network ({str(error).splitlines()[-1].strip()}). Train again.") from None
