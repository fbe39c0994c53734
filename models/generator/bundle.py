"""The generator bundle: every generator, the one that was chosen, and the reviewer, in one folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from core.vocabulary import LENGTH_LIMITS, Origin
from models.bundle import read_config, writing_bundle
from models.generator.belonging import NO_BELONGING, Belonging
from models.generator.choice import SIMILAR, STOCK_WEIGHT, Merit, best_first, merits, tone_fit
from models.generator.clause import ClauseGenerator
from models.generator.clause_index import ClauseIndex
from models.generator.compliance import Compliance
from models.generator.facts import Facts
from models.generator.fluency import FluencyJudge
from models.generator.gan import GanGenerator
from models.generator.gpt import GptGenerator, Sampling
from models.generator.held_out import HeldOutTexts
from models.generator.hf import HfGenerator
from models.generator.interface import CopyGenerator
from models.generator.latent import LatentTextModel
from models.generator.ngram import fit_ngram, symbols
from models.generator.quality import Review, Reviewer, usual_noun_repeats, usual_repeats
from models.generator.request import CopyRequest
from models.generator.response import ResponseModel
from models.generator.retrieval import RetrievalGenerator
from models.generator.slots import slots_of
from models.generator.spans import SpanIndex
from models.generator.template import TemplateGenerator
from models.generator.training_copies import Copy, load_copies, save_copies
from models.generator.vae import VaeGenerator
from models.generator.vocabulary import Vocabulary

KIND = "generator"
_UNSUPPORTED = 0.7
"""Share of held-out human copy that has less support than copy that is shown must have, where all clauses of people come again."""
ON_DEMAND = 0.7
"""Share of a pool's least support that copy on demand must have (decision 0017)."""
FIT_WEIGHT = 0.25
"""What fitting the audience weighs among accepted candidates: as much as coverage, fluency or novelty. So does the tone asked for."""


def make_reviewer(
    facts: Facts,
    copies: Sequence[Copy],
    vocabulary: Vocabulary,
    *,
    levels: Sequence[float],
    targets: Mapping[tuple[str, str], float],
    max_copied_span: int,
    repeats: int | None = None,
    fluency: Sequence[float] | None = None,
    belonging: Belonging = NO_BELONGING,
) -> Reviewer:
    """A reviewer over training copies.

    Args:
        facts: what the catalogue bears out.
        copies: training copies; none is fine.
        vocabulary: cuts texts into words.
        levels: `Reviewer.level` of held-out human copies; empty: to be measured, or no copies.
        targets: facts that human copy states, by scene and channel.
        max_copied_span: a longer span shared with training copy refuses a text.
        repeats: how often a text may state one attribute value; None: as often as these copies do.
        fluency: what signs of fluency weigh (`FluencyJudge.weights`); None: to be fitted.
        belonging: which words belong to which kind of product.
    """
    language = FluencyJudge.of([symbols(copy.pieces, slots_of(copy.request), vocabulary) for copy in copies], fluency)
    spans = SpanIndex([*(copy.text for copy in copies), *(copy.source_text for copy in copies)])
    return Reviewer(
        facts,
        Compliance.load(),
        spans,
        ClauseIndex(copies),
        vocabulary,
        language,
        tuple(sorted(levels)),
        dict(targets),
        max_copied_span,
        usual_repeats(copies) if repeats is None else repeats,
        usual_noun_repeats(copies),
        belonging,
    )


@dataclass(frozen=True)
class GeneratorBundle:
    """What `train_generator` hands on.

    Attributes:
        generators: by origin; the template always, the others when the source has copies.
        chosen: the origin that scored best in validation.
        reviewer: judges candidates.
        copies: training copies.
        config: what config.json holds: scores, counts, reasons.
        held_out: what each generator wrote for held-out products.
        response: how audiences respond to the manner of copy; None without shoppers.
        stock_weight: what a candidate of stock phrases alone loses in the choice: the more, the less alike are texts for many products.
    """

    generators: dict[str, CopyGenerator]
    chosen: str
    reviewer: Reviewer
    copies: tuple[Copy, ...]
    config: dict[str, Any]
    held_out: HeldOutTexts = field(default_factory=HeldOutTexts.none)
    response: ResponseModel | None = None
    stock_weight: float = STOCK_WEIGHT

    @property
    def limits(self) -> dict[str, int]:
        """Longest text of each channel that the generators were trained for."""
        return {**LENGTH_LIMITS, **self.config.get("limits", {})}

    def write(self, requests: Sequence[CopyRequest], n: int, rng: np.random.Generator, kind: str | None = None) -> list[list[str]]:
        """Write n candidates a request; they are not reviewed yet (see `review`).

        Args:
            requests: the orders.
            n: candidates a request, at least 1.
            rng: the stream that sampling draws from.
            kind: an origin; None for the chosen generator.

        Returns:
            At most n texts a request, in order.

        Raises:
            ValueError: no such generator in this bundle, or n below 1.
        """
        name = kind or self.chosen
        if name not in self.generators:
            raise ValueError(f"no generator {name!r} in this bundle; it has {', '.join(self.generators)}")
        if n < 1:
            raise ValueError(f"n is {n}; at least one candidate is needed")
        return self.generators[name].write(requests, n, rng)

    def writer_for(self, request: CopyRequest, asked: str | None = None) -> str:
        """Which generator writes for a product: the one asked for, else the chosen one; the template where no copy taught its kind.

        What the others say of such a product is about other products, and no judge here can tell: refusing what is foreign to most kinds
        let a third of the nonsense through, and of human copy about a category left out it refused three quarters.

        Args:
            request: the product.
            asked: who shall write whatever the category.
        """
        if asked is not None:
            return asked
        return self.chosen if self.reviewer.belonging.knows(request) else str(Origin.TEMPLATE)

    def best_first(self, request: CopyRequest, texts: Sequence[str], reviews: Mapping[str, Review] | None = None) -> list[str]:
        """Candidates in the order in which to show them, compared with each other and with human copy of similar products.

        Args:
            request: what they were written for.
            texts: the candidates.
            reviews: what `review` has said of them already.

        Returns:
            Each distinct text once, refused ones last (`models.generator.choice`).
        """
        return best_first(texts, request, self.reviewer, self._similar(request), reviews, stock_weight=self.stock_weight)

    def merits(self, request: CopyRequest, texts: Sequence[str], reviews: Mapping[str, Review]) -> dict[str, Merit]:
        """What speaks for each candidate (`models.generator.choice`).

        Args:
            request: what they were written for.
            texts: all candidates; refused ones speak for what the model knows, too.
            reviews: text → what `review` says of it.

        Returns:
            Each distinct text → merit.
        """
        return merits(texts, request, self.reviewer, self._similar(request), reviews)

    def weights(self, request: CopyRequest, texts: Sequence[str], reviews: Mapping[str, Review]) -> dict[str, float]:
        """How much each accepted candidate is to be preferred: what `best_first` goes by, and the fit to the audience.

        Args:
            request: what they were written for.
            texts: all candidates; refused ones speak for what the model knows, too.
            reviews: text → what `review` says of it.

        Returns:
            Accepted text → weight in (0, 1], the best before the audience is asked having 1.
        """
        found = {
            text: merit.at(self.stock_weight) for text, merit in self.merits(request, texts, reviews).items() if reviews[text].accepted
        }
        best = max(found.values(), default=0.0)
        heard = self.response if request.audience_id is not None else None
        fits = np.ones(len(found)) if heard is None else heard.fit_of(list(found), request)
        return {text: float(np.exp(score - best) * fit**FIT_WEIGHT) for (text, score), fit in zip(found.items(), fits, strict=True)}

    def _similar(self, request: CopyRequest) -> list[str]:
        retrieval = self.generators.get(Origin.RETRIEVAL)
        return retrieval.write([request], SIMILAR, np.random.default_rng(0))[0] if retrieval is not None else []

    def review(self, request: CopyRequest, text: str) -> Review:
        """Judge one candidate: length, form, compliance, facts, copying, quality.

        Args:
            request: what it was written for.
            text: the candidate.
        """
        return self.reviewer.review(text, request)

    def under(self, compliance: Compliance) -> "GeneratorBundle":
        """The same bundle under another compliance list.

        Args:
            compliance: the list.
        """
        return replace(self, reviewer=replace(self.reviewer, compliance=compliance))

    @cached_property
    def least_support(self) -> float:
        """The support (`ClauseIndex`) that copy needs to be shown: what all but a share of held-out human copy has.

        The share grows with how much people repeat themselves (`ClauseIndex.repeated`); 0 without copies.
        """
        index, copies = self.reviewer.clauses, self.held_out.copies
        found = [index.support([copy.text], copy.request)[0] for copy in copies]
        return float(np.quantile(found, _UNSUPPORTED * index.repeated, method="lower")) if found else 0.0

    def reviewed(self, request: CopyRequest, texts: Sequence[str], *, share: float = 1.0) -> dict[str, Review]:
        """`review` of each distinct candidate; one whose clauses are too unlike people's is refused as well.

        Args:
            request: what they were written for.
            texts: candidates of a generator that has learnt to write.
            share: of `least_support` that a text must have: all of it for a pool, which may do without.
        """
        found = {text: self.review(request, text) for text in dict.fromkeys(texts)}
        supports = self.reviewer.clauses.support(list(found), request)
        for (text, review), support in zip(list(found.items()), supports.tolist(), strict=True):
            if review.accepted and support < share * self.least_support:
                found[text] = replace(review, accepted=False, reason="sense", rule="unlike people's clauses", found=f"{support:.2f}")
        return found

    def worth(self, request: CopyRequest, text: str, quality: float) -> float:
        """What the order in which accepted texts are shown goes by: quality, and how well the text fits the audience and the tone.

        Args:
            request: what it was written for.
            text: the candidate.
            quality: of its review, in [0, 1].

        Returns:
            Weighted geometric mean, in [0, 1]; the quality itself for everyone in any tone.
        """
        fits = []
        if self.response is not None and request.audience_id is not None:
            fits.append(float(self.response.fit_of([text], request)[0]))
        if request.tone is not None:
            fits.append(tone_fit(text, request.tone))
        return float(quality ** (1 - FIT_WEIGHT * len(fits)) * np.prod([fit**FIT_WEIGHT for fit in fits]))

    @property
    def sampling(self) -> Sampling | None:
        """How the chosen generator draws; None for one that draws from no network of ours."""
        chosen = self.generators[self.chosen]
        return chosen.sampling if isinstance(chosen, GptGenerator | VaeGenerator | GanGenerator) else None

    def drawing(self, sampling: Sampling) -> "GeneratorBundle":
        """The same bundle whose chosen generator draws otherwise; one that knows no such setting stays as it is.

        Args:
            sampling: temperature, nucleus and guidance.
        """
        chosen = self.generators[self.chosen]
        if not isinstance(chosen, GptGenerator | VaeGenerator | GanGenerator):
            return self
        return replace(self, generators={**self.generators, self.chosen: replace(chosen, sampling=sampling)})

    def limited_to(self, max_copied_span: int) -> "GeneratorBundle":
        """The same bundle with another limit on spans shared with training copy.

        Args:
            max_copied_span: characters, at least 2.
        """
        return replace(self, reviewer=replace(self.reviewer, max_copied_span=max_copied_span))

    def save(self, path: Path) -> None:
        """Write the bundle, whole or not at all.

        Args:
            path: the folder.
        """
        reviewer = self.reviewer
        config = {
            **self.config,
            "chosen": self.chosen,
            "generators": list(self.generators),
            "tokens": list(reviewer.vocabulary.tokens),
            "levels": list(reviewer.levels),
            "fluency": list(reviewer.language.weights),
            "targets": [[scene, channel, goal] for (scene, channel), goal in sorted(reviewer.targets.items())],
            "max_copied_span": reviewer.max_copied_span,
            "stock_weight": self.stock_weight,
            "audiences": list(self.response.audiences) if self.response else None,
        }
        with writing_bundle(path, KIND, config) as draft:
            save_copies(self.copies, draft / "copies.parquet")
            self.held_out.save(draft / "held_out.parquet")
            reviewer.facts.save(draft / "facts.json")
            reviewer.belonging.save(draft)
            if self.response is not None:
                self.response.save(draft / "response.safetensors")
            for name, generator in self.generators.items():
                generator.save(draft / name)
                if isinstance(generator, VaeGenerator | GanGenerator) and not (draft / "latent").exists():
                    generator.latent.save(draft / "latent")

    @classmethod
    def load(cls, path: Path) -> "GeneratorBundle":
        """Read the bundle that `save` wrote.

        Args:
            path: the folder.

        Raises:
            BundleError: the folder is missing, incomplete, of another kind or format.
        """
        config = read_config(path, KIND)
        copies = tuple(load_copies(path / "copies.parquet"))
        vocabulary = Vocabulary(tuple(config["tokens"]))
        targets = {(scene, channel): float(goal) for scene, channel, goal in config["targets"]}
        reviewer = make_reviewer(
            Facts.load(path / "facts.json"),
            copies,
            vocabulary,
            levels=config["levels"],
            targets=targets,
            max_copied_span=int(config["max_copied_span"]),
            fluency=config["fluency"],
            belonging=Belonging.load(path),
        )
        latent = LatentTextModel.load(path / "latent") if (path / "latent").exists() else None
        generators: dict[str, CopyGenerator] = {}
        for name in config["generators"]:
            if name == Origin.TEMPLATE:
                generators[name] = TemplateGenerator()
            elif name == Origin.CLAUSE:
                generators[name] = ClauseGenerator(copies)
            elif name == Origin.RETRIEVAL:
                generators[name] = RetrievalGenerator(copies)
            elif name == Origin.NGRAM:
                generators[name] = fit_ngram(copies, vocabulary)
            elif name == Origin.GPT:
                generators[name] = GptGenerator.load(path / name)
            elif name == Origin.HF:
                tuned = generators[name] = HfGenerator.load(path / name)
                if name == config["chosen"]:
                    tuned.model.ready()  # a base that is absent is told now, not at the first order
            elif latent is not None:
                generators[name] = (VaeGenerator if name == Origin.VAE else GanGenerator).load(path / name, latent)
        limits = {**LENGTH_LIMITS, **config.get("limits", {})}
        held_out = HeldOutTexts.load(path / "held_out.parquet", limits)
        known = config.get("audiences")
        response = None if known is None else ResponseModel.load(path / "response.safetensors", known)
        stock_weight = float(config.get("stock_weight", STOCK_WEIGHT))
        return cls(generators, str(config["chosen"]), reviewer, copies, config, held_out, response, stock_weight)
