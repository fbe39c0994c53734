"""Every night: take feedback, then bring the whole loop up to date."""

from prefect import flow

from flows.feedback import feedback
from flows.loop import loop
from flows.notify import tell_failure
from flows.progress import StageOutcome


@flow(name="refresh", description="feedback, then the loop: train, evaluate, promote", on_failure=[tell_failure], on_crashed=[tell_failure])
def refresh(overrides: list[str] | None = None, profile: str | None = None) -> list[StageOutcome]:
    """Learn from what came back, and promote what got better.

    Args:
        overrides: ``section.key=value``, as for `loop`.
        profile: as for `loop`.

    Returns:
        What became of each stage.
    """
    feedback()
    return loop(overrides=overrides, profile=profile)
