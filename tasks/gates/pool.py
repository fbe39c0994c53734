"""Gates of the creative pool: no text breaks the compliance list, no product loses its ads, audiences are the champion's."""

from pathlib import Path

from core.columns import Columns
from models.generator.compliance import Compliance
from models.pool import Pool
from tasks.gates.verdict import Gate
from tasks.gates.window import HeldOut


def pool_gates(challenger: Path, champion: Path | None, held_out: HeldOut, *, recommender_is_champion: bool) -> tuple[Gate, ...]:
    """Judge a challenger.

    Args:
        challenger: its bundle.
        champion: the champion's bundle; None when there is none.
        held_out: what they are compared on.
        recommender_is_champion: whether the recommender whose audiences it was written for is champion.

    Raises:
        BundleError: a bundle cannot be read.
    """
    pool = Pool.load(challenger)
    return (
        _compliance(pool, Compliance.of_bundle(challenger)),
        _coverage(pool, Pool.load(champion) if champion is not None else None, held_out),
        _audiences(recommender_is_champion),
    )


def _compliance(pool: Pool, rules: Compliance) -> Gate:
    category = dict(zip(pool.items[Columns.ITEM].astype(str), pool.items[Columns.CATEGORY].astype(str), strict=True))
    broken = [
        (creative, found[0])
        for creative, item, text in zip(pool.creative_id, pool.item_id, pool.text, strict=True)
        if (found := rules.blocks(str(text), category.get(str(item), "")))
    ]
    if not len(pool):
        return Gate("compliance", False, "the pool is empty: nothing could be shown")
    if broken:
        creative, violation = broken[0]
        return Gate(
            "compliance", False, f"{len(broken)} of {len(pool)} creatives break the compliance list; first: {creative}: {violation}"
        )
    warned = int(pool.creatives[Columns.VERDICT].astype(str).str.startswith("warn").sum())
    told = f"none of {len(pool)} creatives breaks a rule that blocks; {warned} carry a warning for a person to read"
    return Gate("compliance", True, told)


def _coverage(pool: Pool, other: Pool | None, held_out: HeldOut) -> Gate:
    items = held_out.items[Columns.ITEM].astype(str)
    mine = float(items.isin({str(item) for item in pool.item_id}).mean())
    if other is None:
        return Gate("coverage", mine > 0, f"{mine:.1%} of the catalogue's products have a creative")
    theirs = float(items.isin({str(item) for item in other.item_id}).mean())
    passed = mine >= theirs
    told = f"{mine:.1%} of the catalogue's products have a creative, {theirs:.1%} with the champion"
    return Gate("coverage", passed, told if passed else f"{told}: products would lose their ads")


def _audiences(recommender_is_champion: bool) -> Gate:
    told = "it was written for the audiences of this run's recommender, which is "
    return Gate("audiences", recommender_is_champion, told + ("champion" if recommender_is_champion else "not champion"))
