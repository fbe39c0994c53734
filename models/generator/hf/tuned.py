"""A base model with its adapter: orders in, texts out; what is kept is the adapter alone."""

import inspect
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import BundleError
from core.files import read_json, write_json
from models.bundle import load_arrays, save_arrays
from models.device import device
from models.generator.hf.base import EXTRA, Base, find_base, load_base, need
from models.generator.hf.parts import Prefix, TrimmedHead
from models.generator.prompts import FeatureScale
from models.generator.request import CopyRequest

_PREFIX = "prefix."
_TOKENS, _MEAN = "head.tokens", "scale.mean"


@dataclass(frozen=True)
class AdapterSettings:
    """What says which adapter this is, over which base.

    Attributes:
        model: the base, as the user named it: hub id, folder, GGUF file or wheel.
        content: hash of the base's content.
        rank: of the LoRA matrices.
        alpha: the adapter's output is scaled by alpha / rank.
        max_tokens: longest text, in the base's tokens, end included.
    """

    model: str
    content: str
    rank: int
    alpha: float
    max_tokens: int


@dataclass(frozen=True)
class Order:
    """A batch of orders, padded on the left, so that every copy begins in the same column.

    Attributes:
        ids: (batch, width) token ids.
        mask: (batch, width) 1 where a token stands.
        feature: (batch, d_feature) standardised F, zero where absent; None for a model without audiences.
        personal: (batch,) 1.0 where F is present.
    """

    ids: Tensor
    mask: Tensor
    feature: Tensor | None
    personal: Tensor


class TunedNetwork:
    """Tokenizer, base with LoRA inside, and the prefix, all loaded."""

    def __init__(self, base: Base, *, rank: int, alpha: float, scale: FeatureScale | None) -> None:
        """Load the base and put a fresh adapter into it; `trim` must follow.

        Args:
            base: see `find_base`.
            rank: of the LoRA matrices.
            alpha: their scale times rank.
            scale: of F; None: the model knows no audiences.

        Raises:
            BundleError: the extra is not installed, or the base cannot be loaded.
        """
        need("peft")
        from peft import LoraConfig, get_peft_model
        from transformers.pytorch_utils import Conv1D

        self.tokenizer, causal = load_base(base)
        transposed = any(isinstance(module, Conv1D) for module in causal.modules())
        config = LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", fan_in_fan_out=transposed, task_type="CAUSAL_LM"
        )
        self.device = device()
        self.network: Any = get_peft_model(causal, config).to(self.device)
        self.scale = scale
        embedding = causal.get_input_embeddings().weight
        first = torch.arange(min(1000, len(embedding)), device=self.device)
        probe = causal.get_input_embeddings()(first).float()  # some bases scale what they look up
        self.prefix = None
        if scale is not None:
            self.prefix = Prefix(len(scale.mean), embedding.shape[1], float(probe.pow(2).mean().sqrt())).to(self.device)
        self.positions = int(getattr(causal.config.get_text_config(), "max_position_embeddings", 0) or 1 << 20)
        accepted = inspect.signature(causal.forward).parameters
        self._keeps, self._placed = "logits_to_keep" in accepted, "position_ids" in accepted

    def trim(self, tokens: np.ndarray) -> None:
        """Say which tokens can be written.

        Args:
            tokens: (n,) distinct ids, the end token among them.
        """
        causal = self.network.get_base_model()
        size = len(causal.get_output_embeddings().weight)
        self.head = TrimmedHead(causal.get_output_embeddings(), torch.from_numpy(tokens), size)
        causal.set_output_embeddings(self.head)
        self.place_of = torch.full((size,), -1)
        self.place_of[torch.from_numpy(tokens)] = torch.arange(len(tokens))

    def parameters(self) -> list[nn.Parameter]:
        """What training changes: LoRA matrices and prefix."""
        own = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        return own + (list(self.prefix.parameters()) if self.prefix is not None else [])

    def order(self, texts: Sequence[str], feature: Tensor | None, personal: Tensor, *, room: int) -> Order:
        """Orders as tensors.

        Args:
            texts: see `wording.order_of`.
            feature: (batch, d_feature) standardised F; None without audiences.
            personal: (batch,) 1.0 where F is present.
            room: tokens left for copy; an order too long for the base's context loses its beginning.
        """
        rows = [ids[-max(8, self.positions - room - 1) :] for ids in self.tokenizer(list(texts))["input_ids"]]
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), int(self.tokenizer.pad_token_id))
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for row, held in enumerate(rows):
            ids[row, width - len(held) :] = torch.tensor(held)
            mask[row, width - len(held) :] = 1
        return Order(ids, mask, feature, personal)

    def opened(self, order: Order, copies: Tensor | None = None, copies_mask: Tensor | None = None) -> dict[str, Tensor]:
        """What the base reads: order, prefix, and copies when there are any.

        Args:
            order: the orders.
            copies: (batch, length) ids.
            copies_mask: (batch, length) 1 where a token stands.

        Returns:
            What is called with, on the network's device.
        """
        ids, mask = order.ids, order.mask
        if copies is not None and copies_mask is not None:
            ids, mask = torch.cat([ids, copies], 1), torch.cat([mask, copies_mask], 1)
        ids, mask = ids.to(self.device), mask.to(self.device)
        if self.prefix is None or order.feature is None:
            return {"input_ids": ids, "attention_mask": mask}
        looked_up = self.network.get_input_embeddings()(ids)
        between = self.prefix(order.feature.to(self.device), order.personal.to(self.device)).to(looked_up.dtype)
        end = order.ids.shape[1]
        vectors = torch.cat([looked_up[:, :end], between, looked_up[:, end:]], 1)  # (batch, width + 1 + length, d)
        return {"inputs_embeds": vectors, "attention_mask": torch.cat([mask[:, :end], mask.new_ones(len(mask), 1), mask[:, end:]], 1)}

    def logits(self, order: Order, copies: Tensor, mask: Tensor) -> Tensor:
        """Logits of each token of the copies, given order and the tokens before.

        Args:
            order: the orders.
            copies: (batch, length) ids, end included, padded on the right.
            mask: (batch, length) 1 where a token stands.

        Returns:
            (batch, length, kept tokens), in the order of `trim`.
        """
        given = self.opened(order, copies, mask)
        if self._placed:
            given["position_ids"] = (given["attention_mask"].cumsum(1) - 1).clamp_min(0)
        kept = copies.shape[1] + 1
        extra = {"logits_to_keep": kept} if self._keeps else {}
        logits: Tensor = self.network(**given, **extra, use_cache=False).logits[:, -kept:-1]
        return logits

    def adapter(self) -> dict[str, np.ndarray]:
        """LoRA matrices and prefix by name, float32, and the tokens that can be written."""
        from peft import get_peft_model_state_dict

        held = dict(get_peft_model_state_dict(self.network, save_embedding_layers=False))
        if self.prefix is not None:
            held |= {_PREFIX + name: value for name, value in self.prefix.state_dict().items()}
        tokens = {_TOKENS: self.head.tokens.cpu().numpy().copy()}
        return tokens | {name: value.detach().float().cpu().numpy().copy() for name, value in held.items()}

    def adapt(self, arrays: dict[str, np.ndarray]) -> None:
        """Put an adapter in.

        Args:
            arrays: what `adapter` gave; its tokens are those of `trim`.

        Raises:
            BundleError: it was made for another base, or another version of peft.
        """
        from peft import set_peft_model_state_dict

        tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
        own = set(self.adapter())
        if set(tensors) != own:
            odd = sorted(set(tensors) ^ own)[:3]
            raise BundleError(
                f"the adapter does not fit its base model: {len(set(tensors) ^ own)} names differ, such as {odd}. Tune it again."
            )
        lora = {name: value for name, value in tensors.items() if not name.startswith(_PREFIX) and name != _TOKENS}
        set_peft_model_state_dict(self.network, lora)
        if self.prefix is not None:
            self.prefix.load_state_dict({name.removeprefix(_PREFIX): value for name, value in tensors.items() if name.startswith(_PREFIX)})

    def scaled(self, requests: Sequence[CopyRequest]) -> tuple[Tensor | None, Tensor]:
        """F of requests, standardised, and where there is one.

        Args:
            requests: the orders.

        Raises:
            ValueError: an F of another size than the model was tuned with.
        """
        personal = torch.zeros(len(requests))
        if self.scale is None:
            return None, personal
        feature = np.zeros((len(requests), len(self.scale.mean)), np.float32)
        for row, request in enumerate(requests):
            if request.feature is None:
                continue
            if request.feature.shape != self.scale.mean.shape:
                raise ValueError(
                    f"feature of {request.item_id} has shape {request.feature.shape}; the generator was tuned with {self.scale.mean.shape}"
                )
            feature[row], personal[row] = self.scale.apply(request.feature), 1.0
        return torch.from_numpy(feature), personal


class TunedModel:
    """An adapter and the knowledge of its base, which is loaded when it is first needed."""

    def __init__(
        self,
        settings: AdapterSettings,
        arrays: dict[str, np.ndarray],
        scale: FeatureScale | None,
        loaded: TunedNetwork | None = None,
    ) -> None:
        """Hold an adapter.

        Args:
            settings: which base, and sizes.
            arrays: the adapter.
            scale: of F; None without audiences.
            loaded: the network with this very adapter inside, when it is at hand.
        """
        self.settings, self.scale = settings, scale
        self._arrays, self._loaded = arrays, loaded

    def ready(self) -> TunedNetwork:
        """The network, loaded.

        Raises:
            BundleError: the extra or the base is absent, or the base's content is another than the adapter was tuned over.
        """
        if self._loaded is None:
            need("peft")
            asked = self.settings
            base = find_base(asked.model)
            if base.content != asked.content:
                raise BundleError(
                    f"{base.folder}: holds base {base.content[:12]}, the adapter was tuned over {asked.content[:12]} ({asked.model}). "
                    "Bring that one back, or tune again."
                )
            network = TunedNetwork(base, rank=asked.rank, alpha=asked.alpha, scale=self.scale)
            network.trim(self._arrays[_TOKENS])
            network.adapt(self._arrays)
            self._loaded = network
        return self._loaded

    def save(self, folder: Path) -> None:
        """Write config.json and adapter.safetensors; the base is named, not copied.

        Args:
            folder: made if absent.
        """
        folder.mkdir(parents=True, exist_ok=True)
        scale = None if self.scale is None else self.scale.scale
        write_json({"adapter": asdict(self.settings), "feature_scale": scale, "needs": EXTRA}, folder / "config.json")
        mean = {} if self.scale is None else {_MEAN: np.asarray(self.scale.mean, np.float32)}
        save_arrays({**self._arrays, **mean}, folder / "adapter.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "TunedModel":
        """Read what `save` wrote; neither the base nor the extra is needed yet.

        Args:
            folder: the folder.

        Raises:
            BundleError: a file is missing or truncated.
        """
        config = read_json(folder / "config.json")
        arrays = load_arrays(folder / "adapter.safetensors")
        mean = arrays.pop(_MEAN, None)
        scale = None if mean is None else FeatureScale(mean, float(config["feature_scale"]))
        return cls(AdapterSettings(**config["adapter"]), arrays, scale)
