"""The latent text model and the GAN, as the bundle's config tells of them."""

from collections.abc import Mapping
from typing import Any

from tasks.report.page import Chapter, Table, table


def latent_chapter(config: Mapping[str, Any]) -> tuple[Chapter, ...]:
    """What is known of the latent; no chapter where nothing was trained.

    Args:
        config: of the generator bundle.
    """
    gan = config.get("gan")
    if not gan:
        return ()
    tables: list[Table] = []
    frechet = "–" if gan.get("frechet") is None else f"{gan['frechet']:.3f}"
    tables.append(
        table(
            ("GAN", ""),
            [
                ("kept step", f"{gan['kept_step']:,}"),
                ("Fréchet distance in ℓ at that step", frechet),
                ("stopped early", gan["stopped"] or "no"),
            ],
        )
    )
    return (Chapter("Latent model and GAN", "", tuple(tables)),)
