"""The small GPT that writes copy: a transformer over [context, audience F, slots of ℓ, product phrases] and the text so far.

The prompt's positions see each other; the text's see the prompt and the text before them. Product words are pointed at
(Vinyals et al. 2015; See et al. 2017): the logit of slot i is a scaled dot product with the prompt's position of slot i.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as fn
from torch import Tensor, nn

from core.vocabulary import CHANNELS, SCENES, TONES
from models.dropout import Dropout
from models.generator.latent_reader import LatentReader
from models.generator.prompts import Prompts
from models.generator.vocabulary import BOS, EOS, PAD, UNK

HEAD = 2
"""Prompt positions before ℓ and the phrases: context, F."""
_ROW_STEP = 128
"""Rows of logits are padded to a multiple of it: every new shape costs a new kernel, in time and in memory that is kept."""
_NO_TARGET = -100
_ROOM = 32
"""Positions that a cache grows by."""


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder.

    Attributes:
        tokens: size of the vocabulary, slots not counted.
        names: slot names known, number 0 included.
        values: slot values known, number 0 included.
        d_feature: size of F.
        d_latent: size of ℓ.
        d_model: width.
        layers: transformer layers.
        heads: attention heads; divides d_model.
        max_tokens: longest text in tokens, begin included.
        slots: of ℓ; divides d_latent.
    """

    tokens: int
    names: int
    values: int
    d_feature: int
    d_latent: int
    d_model: int
    layers: int
    heads: int
    max_tokens: int
    slots: int = 1

    def as_dict(self) -> dict[str, int]:
        """For config.json."""
        return asdict(self)


class KeyValues:
    """Keys and values of one layer in buffers with room: a new position is written, and nothing before it is copied.

    Args:
        keys: (batch, heads, positions, d_head) to begin with.
        values: the same of the values.
    """

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._keys, self._values, self._used = keys, values, keys.shape[2]

    @property
    def held(self) -> tuple[Tensor, Tensor]:
        """Keys and values, each (batch, heads, positions, d_head)."""
        return self._keys[:, :, : self._used], self._values[:, :, : self._used]

    def add(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write new positions behind the old.

        Args:
            keys: (batch, heads, new, d_head).
            values: (batch, heads, new, d_head).

        Returns:
            All of them; see `held`.
        """
        end = self._used + keys.shape[2]
        if end > self._keys.shape[2]:
            self._keys, self._values = (_with_room(old, end + _ROOM) for old in (self._keys, self._values))
        self._keys[:, :, self._used : end], self._values[:, :, self._used : end] = keys, values
        self._used = end
        return self.held

    def take(self, rows: Tensor) -> "KeyValues":
        """Only these rows, a row once or more often.

        Args:
            rows: (n,) int64.
        """
        keys, values = self.held
        return KeyValues(keys[rows], values[rows])


def _with_room(old: Tensor, positions: int) -> Tensor:
    new = old.new_empty(*old.shape[:2], positions, old.shape[3])
    new[:, :, : old.shape[2]] = old
    return new


class Layer(nn.Module):
    """Pre-norm attention and feed-forward, with a key-value cache for sampling."""

    def __init__(self, d_model: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_forward = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)
        self.up, self.down = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, cache: KeyValues | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One layer.

        Args:
            x: (batch, new, d_model).
            mask: (batch or 1, 1, new, old + new) bool, True where attention is allowed.
            cache: keys and values of earlier positions; the new ones are added to it.

        Returns:
            (batch, new, d_model), and keys and values with the new positions.
        """
        batch, new, width = x.shape
        q, k, v = (
            self.qkv(self.norm_attention(x)).view(batch, new, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )  # (batch, heads, new, d_head)
        if cache is not None:
            k, v = cache.add(k, v)
        scores = (q @ k.transpose(2, 3) * q.shape[-1] ** -0.5).masked_fill(~mask, float("-inf"))  # (batch, heads, new, old + new)
        mixed = scores.softmax(-1) @ v  # plain products: on a processor, fused attention is slower backwards at these sizes
        x = x + self.dropout(self.out(mixed.transpose(1, 2).reshape(batch, new, width)))
        return x + self.dropout(self.down(fn.gelu(self.up(self.norm_forward(x))))), (k, v)


@dataclass
class State:
    """What sampling keeps between steps.

    Attributes:
        cache: keys and values a layer.
        seen: (batch, positions) bool, prompt positions that stand.
        phrases: (batch, phrases, d_model) input vectors of the phrases.
        keys: (batch, slots, d_model) what slot logits are taken against.
        slots: (batch, slots) bool.
        spoken: (batch, slots of ℓ, d_model) what ℓ lays on the output; None without ℓ.
    """

    cache: list[KeyValues]
    seen: Tensor
    phrases: Tensor
    keys: Tensor
    slots: Tensor
    spoken: Tensor | None

    def repeat(self, times: int) -> "State":
        """Every row ``times`` times, for several candidates of one request.

        Args:
            times: at least 1.
        """
        return self.keep(torch.arange(len(self.seen)).repeat_interleave(times))

    def keep(self, rows: Tensor) -> "State":
        """These rows.

        Args:
            rows: (n,) int64, a row once or more often.
        """
        return State(
            [kept.take(rows) for kept in self.cache],
            self.seen[rows],
            self.phrases[rows],
            self.keys[rows],
            self.slots[rows],
            None if self.spoken is None else self.spoken[rows],
        )


class CopyDecoder(nn.Module):
    """P(text | product, scene, channel, tone, F, ℓ); without ℓ it is the plain GPT.

    Args:
        shape: its sizes.
        dropout: share of activations dropped in training.
    """

    def __init__(self, shape: DecoderShape, dropout: float = 0.1) -> None:
        super().__init__()
        self.shape, d = shape, shape.d_model
        self.words = nn.Embedding(shape.tokens, d)
        self.names, self.values = nn.Embedding(shape.names, d), nn.Embedding(shape.values, d)
        self.scenes, self.channels = nn.Embedding(len(SCENES), d), nn.Embedding(len(CHANNELS), d)
        self.tones = nn.Embedding(1 + len(TONES), d)
        self.places = nn.Embedding(shape.max_tokens, d)
        self.kinds = nn.Embedding(HEAD + 3, d)
        self.feature = nn.Linear(shape.d_feature, d, bias=False)
        self.latent = LatentReader(shape.d_latent, shape.slots, d, shape.tokens)
        self.spelling = nn.Linear(d, d, bias=False)
        self.blocks = nn.ModuleList(Layer(d, shape.heads, dropout) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(d)
        self.query, self.key = nn.Linear(d, d, bias=False), nn.Linear(d, d, bias=False)
        self.dropout = Dropout(dropout)
        for module in self.modules():
            if isinstance(module, nn.Embedding | nn.Linear):
                nn.init.normal_(module.weight, std=d**-0.5 * 0.7)
        for name, weight in self.named_parameters():
            if name.endswith(("latent.words.weight", "tones.weight", "out.weight", "down.weight")):
                nn.init.zeros_(weight)  # ℓ begins silent, a layer as the identity

    @torch.no_grad()
    def begin_with(self, words: Tensor, values: Tensor) -> None:
        """Let words and slot values begin at vectors of a pretrained network: few copies then teach much more.

        Args:
            words: (tokens, d) one a token of the vocabulary.
            values: (values − 1, d) one a value of the phrase book.
        """
        known = torch.cat([words, values])
        known = known - known.mean(0)
        width = min(self.shape.d_model, known.shape[1])
        _, axes = torch.linalg.eigh(known.T @ known)
        known = known @ axes.flip(1)[:, :width]  # the directions in which words differ most
        known *= self.words.weight.std() / known.std().clamp_min(1e-12)
        self.words.weight[:, :width] = known[: len(words)]
        self.values.weight[1:, :width] = known[len(words) :]

    def reads_latent(self) -> list[nn.Parameter]:
        """The weights that ℓ comes in by."""
        return [*self.latent.parameters()]

    def phrases(self, prompts: Prompts) -> Tensor:
        """Input vectors of the phrases: name + value + its characters.

        Args:
            prompts: the requests.

        Returns:
            (batch, phrases, d_model).
        """
        held = (prompts.characters != PAD).unsqueeze(-1)
        spelt = (self.words(prompts.characters) * held).sum(2) / held.sum(2).clamp_min(1)  # (batch, phrases, d_model)
        phrases: Tensor = self.names(prompts.names) + self.values(prompts.values) + self.spelling(spelt)
        return phrases

    def _prompt(self, prompts: Prompts, latent: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        phrases = self.phrases(prompts)
        batch, count, _ = phrases.shape
        context = self.scenes(prompts.scene) + self.channels(prompts.channel) + self.tones(prompts.tone)
        audience = self.feature(prompts.feature) * prompts.personal.unsqueeze(1)
        head = torch.stack([context, audience], 1)  # (batch, 2, d_model)
        read = 0 if latent is None else self.shape.slots
        if latent is not None:
            head = torch.cat([head, self.latent.positions(latent)], 1)
        kinds = self.kinds(torch.tensor([0, 1] + [2] * read + [3] + [4] * (count - 1), device=context.device))
        seen = torch.cat([prompts.mask.new_ones(batch, HEAD + read), prompts.mask], 1)
        return torch.cat([head, phrases], 1) + kinds, phrases, seen

    def forward(self, prompts: Prompts, tokens: Tensor, latent: Tensor | None = None) -> Tensor:
        """Next-token logits of whole texts (teacher forcing).

        Args:
            prompts: the requests.
            tokens: (batch, length) ids, begin first; ids from ``shape.tokens`` on are slots.
            latent: (batch, d_latent), None for the plain GPT.

        Returns:
            (batch, length, tokens + slots) logits.
        """
        hidden, keys = self.hidden(prompts, tokens, latent)
        return self._logits(hidden, keys, prompts.mask[:, 1:])

    def loss(
        self,
        prompts: Prompts,
        tokens: Tensor,
        latent: Tensor | None = None,
        seen: Tensor | None = None,
        unread: Tensor | None = None,
    ) -> tuple[Tensor, int]:
        """Cross-entropy of whole texts; logits are computed where a token follows only, since they are most of the work.

        Args:
            prompts: the requests.
            tokens: (batch, length) ids with begin and end, padded.
            latent: (batch, d_latent), None for the plain GPT.
            seen: (batch, length) what the decoder is shown of them, as `reading.blanked` makes it; all when None.
            unread: (batch,) bool, texts whose product only can be pointed at; none when None.

        Returns:
            Mean over the tokens that follow, in nats, and their number.
        """
        hidden, keys = self.hidden(prompts, (tokens if seen is None else seen)[:, :-1], latent, unread)
        rows, places = (tokens[:, 1:] != PAD).nonzero(as_tuple=True)
        count = len(rows)
        target = fn.pad(tokens[rows, places + 1], (0, -count % _ROW_STEP), value=_NO_TARGET)
        rows, places = (fn.pad(index, (0, -count % _ROW_STEP)) for index in (rows, places))
        pointed = self._pointed(hidden, keys, prompts.mask[:, 1:])[rows, places]  # (n, slots)
        logits = torch.cat([hidden[rows, places] @ self.words.weight.T, pointed], -1)  # (n, tokens + slots)
        return fn.cross_entropy(logits.float(), target, ignore_index=_NO_TARGET), count

    def hidden(self, prompts: Prompts, tokens: Tensor, latent: Tensor | None = None, unread: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What logits are taken from.

        Args:
            prompts: the requests.
            tokens: (batch, length) ids, begin first.
            latent: (batch, d_latent), None for the plain GPT.
            unread: (batch,) bool, texts that do not see their product's phrases; their slots stand all the same.

        Returns:
            (batch, length, d_model) of the text, and (batch, slots, d_model) keys of the slots.
        """
        prompt, phrases, seen = self._prompt(prompts, latent)
        width, length, count = prompt.shape[1], tokens.shape[1], phrases.shape[1]
        x = self.dropout(torch.cat([prompt, self._text(tokens, phrases, 0)], 1))
        causal = seen.new_ones(length, length).tril()
        mask = seen.new_zeros(len(tokens), 1, width + length, width + length)
        mask[:, :, :, :width] = seen[:, None, None, :]
        mask[:, :, width:, width:] = causal
        if unread is not None:
            mask[:, :, width:, width - count : width] &= ~unread[:, None, None, None]
            mask[:, :, : width - count, width - count : width] &= ~unread[:, None, None, None]
        for block in self.blocks:
            x, _ = block(x, mask)
        x = self.norm(x)
        text = x[:, width:] if latent is None else self.latent.mixed(x[:, width:], self.latent.spoken(latent))
        return text, self.key(x[:, width - count + 1 : width])

    def start(self, prompts: Prompts, latent: Tensor | None = None) -> State:
        """Read the prompt once, for sampling.

        Args:
            prompts: the requests.
            latent: (batch, d_latent), None for the plain GPT.
        """
        x, phrases, seen = self._prompt(prompts, latent)
        mask = seen[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        cache: list[KeyValues] = []
        for block in self.blocks:
            x, kept = block(x, mask)
            cache.append(KeyValues(*kept))
        keys = self.key(self.norm(x)[:, x.shape[1] - phrases.shape[1] + 1 :])
        return State(cache, seen, phrases, keys, prompts.mask[:, 1:], None if latent is None else self.latent.spoken(latent))

    def step(self, state: State, tokens: Tensor, place: int) -> tuple[Tensor, State]:
        """One more token of every row.

        Args:
            state: from `start` or the step before; its caches grow, so that it serves once.
            tokens: (batch,) the last ids.
            place: their position in the text, 0 for begin.

        Returns:
            (batch, tokens + slots) logits, and the next state.
        """
        x = self._text(tokens.unsqueeze(1), state.phrases, place)
        mask = torch.cat([state.seen, state.seen.new_ones(len(tokens), place + 1)], 1)[:, None, None, :]
        for block, kept in zip(self.blocks, state.cache, strict=True):
            x, _ = block(x, mask, kept)
        x = self.norm(x)
        if state.spoken is not None:
            x = self.latent.mixed(x, state.spoken)
        logits = self._logits(x, state.keys, state.slots)[:, 0]
        if state.spoken is not None:
            logits[:, EOS] -= self.latent.lateness
        return logits, state

    def _text(self, tokens: Tensor, phrases: Tensor, place: int) -> Tensor:
        slot = (tokens - self.shape.tokens + 1).clamp_min(0)  # phrase 0 is the category: a word's place holder
        pointed = phrases.gather(1, slot.clamp_max(phrases.shape[1] - 1).unsqueeze(-1).expand(-1, -1, phrases.shape[2]))
        spelt = self.words(tokens.clamp_max(self.shape.tokens - 1))
        x = torch.where((slot > 0).unsqueeze(-1), pointed, spelt)
        placed: Tensor = x + self.places.weight[place : place + tokens.shape[1]]
        return placed

    def _logits(self, hidden: Tensor, keys: Tensor, slots: Tensor) -> Tensor:
        return torch.cat([hidden @ self.words.weight.T, self._pointed(hidden, keys, slots)], -1)

    def _pointed(self, hidden: Tensor, keys: Tensor, slots: Tensor) -> Tensor:
        pointed: Tensor = self.query(hidden) @ keys.transpose(1, 2) * hidden.shape[-1] ** -0.5  # (batch, length, slots)
        return pointed.masked_fill(~slots.unsqueeze(1), float("-inf"))


def never() -> list[int]:
    """Ids that are never sampled: pad, begin, unknown."""
    return [PAD, BOS, UNK]
