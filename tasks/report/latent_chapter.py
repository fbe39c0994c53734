"""The latent text model and the GAN, as the bundle's config tells of them (`tasks.judge.evidence`): is ℓ read, and does G do anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from core.vocabulary import Origin
from tasks.report.page import Chapter, Table, interval_cell, table

_SOURCES = {"gan": "G", "mean": "the mean ℓ", "noise": "noise of the same mean and covariance", "human": "human copy"}
GAN_IDLE = (
    "The GAN is not working: its draws of ℓ are not shown to be better than both the mean ℓ and noise with the same mean and covariance."
)


def latent_chapter(config: Mapping[str, Any]) -> tuple[Chapter, ...]:
    """What is known of the latent; no chapter where nothing was trained.

    Args:
        config: of the generator bundle; its keys ``latent``, ``gan`` and ``chosen`` are read.
    """
    latent, gan = config.get("latent"), config.get("gan")
    tables = [*(_latent(latent) if latent else ()), *(_gan(gan) if gan else ())]
    if not tables:
        return ()
    lead = " ".join(filter(None, (_lead(latent or {}, gan or {}), pool_by_gan(str(config.get("chosen", "")), (gan or {}).get("works")))))
    return (Chapter("Latent model and GAN", lead, tuple(tables)),)


def pool_by_gan(chosen: str, works: bool | None) -> str:
    """Why a GAN that is not working writes the pool; "" where another generator writes, or the GAN works or was not measured.

    Args:
        chosen: the origin that writes the pool.
        works: the verdict on G (`tasks.judge.adversary`); None where it was not measured.
    """
    if chosen != Origin.GAN or works is not False:
        return ""
    return (
        "It writes the pool all the same: G only draws ℓ, the texts come from the decoder, and the pool takes the generator whose first "
        "choice of four scores best (decision 0017)."
    )


def _lead(latent: Mapping[str, Any], gan: Mapping[str, Any]) -> str:
    read = {True: "The decoder reads ℓ.", False: "The decoder hardly reads ℓ: another copy's ℓ serves it nearly as well."}
    works: dict[Any, str] = {True: "The GAN works.", False: GAN_IDLE}
    said = [read[latent["used"]] if "used" in latent else "", works.get(gan.get("works"), "")]
    return " ".join(filter(None, said)) or "What training tells of ℓ and of G."


def _latent(latent: Mapping[str, Any]) -> list[Table]:
    rows = [
        ("copy → ℓ → copy", _interval(latent["bleu_4"])),
        ("the same with another copy's ℓ", _interval(latent["bleu_4_shuffled"])),
        ("share that is kept with another's ℓ; at most 0.5 when ℓ is used", f"{float(latent['kept']):.3f}"),
    ]
    note = f"On {latent['n']} held-out copies, decoded greedily."
    return [
        table(("reconstruction", "BLEU-4"), rows, note=note),
        *(_walk(number, walk) for number, walk in enumerate(latent.get("walks", ()), start=1)),
    ]


def _walk(number: int, walk: Mapping[str, Any]) -> Table:
    steps: Sequence[Mapping[str, Any]] = walk["steps"]
    rows = [
        ("from", str(walk["from"]), "–"),
        *((f"{float(step['at']):g}", str(step["text"]), f"{float(step['fluency']):.2f}") for step in steps),
        ("to", str(walk["to"]), "–"),
    ]
    return table(("at", "text", "fluency"), rows, title=f"Walk {number} between two copies in latent space, for one product", text=True)


def _gan(gan: Mapping[str, Any]) -> list[Table]:
    found = []
    if gan.get("sources"):
        rows = [
            (
                title,
                *(
                    _interval(gan["sources"][name][metric]) if metric in gan["sources"][name] else "–"
                    for metric in ("frechet", "self_bleu_4")
                ),
            )
            for name, title in _SOURCES.items()
            if name in gan["sources"]
        ]
        found.append(
            table(("ℓ from", "Fréchet distance", "Self-BLEU-4"), rows, note=" ".join(f"{reason}." for reason in gan.get("reasons", ())))
        )
    path = gan.get("encoder_frechet", ())
    rows = [("step kept", f"{gan.get('kept_step', '–')}"), ("stopped by the collapse detector", str(gan.get("stopped") or "no"))]
    rows += [(f"Fréchet distance of texts in the encoder's space, step {step}", f"{float(distance):.3f}") for step, distance in path]
    found.append(table(("GAN", ""), rows))
    return found


def _interval(held: Mapping[str, float]) -> str:
    return interval_cell(float(held["value"]), float(held["low"]), float(held["high"]))
