"""Every week: new copy from the generator and the data as they stand."""

from prefect import flow

from flows.loop import loop
from flows.notify import tell_failure
from flows.progress import StageOutcome

FIRST = "generate"


@flow(
    name="creatives", description="generate → promote with the models as they stand", on_failure=[tell_failure], on_crashed=[tell_failure]
)
def creatives(overrides: list[str] | None = None, profile: str | None = None) -> list[StageOutcome]:
    """Fill the pool again, evaluate, and promote it where its gates hold; models are not trained anew.

    The pool is filled from a seed: to get other texts for unchanged products, turn a parameter of ``generate``.

    Args:
        overrides: ``section.key=value``, as for `loop`.
        profile: as for `loop`.

    Returns:
        What became of each stage.
    """
    return loop(overrides=overrides, profile=profile, first=FIRST)
