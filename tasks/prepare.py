"""Stage prepare: hold raw tables against the data contract, pseudonymise, split by time; what is refused goes to quarantine."""

import hashlib
import logging
from pathlib import Path
from typing import cast

import pandas as pd
import pyarrow

from core.errors import SourceError
from core.files import content_hash, read_json, read_table, write_json, write_table
from core.identity import user_key
from core.lineage import CollectedFacts
from core.params import PrepareParams
from core.schemas import arrow_schema
from tasks.cleaning.clean import clean, lineage_of, require_enough

_log = logging.getLogger(__name__)


def prepare(
    params: PrepareParams,
    *,
    raw_items: Path,
    raw_events: Path,
    raw_copies: Path,
    raw_impressions: Path,
    raw_campaigns: Path,
    source: Path,
    items: Path,
    events: Path,
    copies: Path,
    impressions: Path,
    campaigns: Path,
    quarantine: Path,
    lineage: Path,
    data_report: Path,
) -> None:
    """Write clean tables, the quarantine, the lineage and the data report.

    Args:
        params: shares of the split, conversion window, cap and limit.
        raw_items: written by collect, as all raw tables and `source`.
        raw_events: see `raw_items`.
        raw_copies: see `raw_items`.
        raw_impressions: see `raw_items`.
        raw_campaigns: see `raw_items`.
        source: what the source says about itself.
        items: clean table to write.
        events: clean table to write, by time.
        copies: clean table to write.
        impressions: clean table to write, by time.
        campaigns: clean table to write.
        quarantine: rows that are in no clean table, with reasons.
        lineage: source, split times, key fingerprint and data version.
        data_report: counts.

    Raises:
        SourceError: a raw table cannot be read.
        SchemaError: columns are missing, too much was refused, or the times cannot be split.
        IdentityError: real users and no key, or feedback of another key.
    """
    facts = cast("CollectedFacts", read_json(source))
    key = user_key(synthetic=facts["synthetic"])
    raw_paths = {"items": raw_items, "events": raw_events, "copies": raw_copies, "impressions": raw_impressions, "campaigns": raw_campaigns}
    raw = {name: read_raw(path) for name, path in raw_paths.items()}
    cleaned = clean(raw, facts, params, key)
    require_enough(cleaned.report, params.max_quarantine_share)
    paths = {"items": items, "events": events, "copies": copies, "impressions": impressions, "campaigns": campaigns}
    for name, path in paths.items():
        write_table(cleaned.tables[name], path, arrow_schema(name))
    write_table(cleaned.quarantine, quarantine, arrow_schema("quarantine"))
    data_version = hashlib.sha256("".join(content_hash(path) for path in paths.values()).encode()).hexdigest()
    write_json(lineage_of(cleaned, facts, key, data_version), lineage)
    write_json(cleaned.report, data_report)
    counts = ", ".join(f"{table['accepted']} {name}" for name, table in cleaned.report["tables"].items())
    _log.info("accepted %s; %d rows in quarantine", counts, len(cleaned.quarantine))


def read_raw(path: Path) -> pd.DataFrame:
    """Read a raw table.

    Args:
        path: Parquet written by collect.

    Raises:
        SourceError: it is truncated or no Parquet.
    """
    try:
        return read_table(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise SourceError(
            f"{path}: cannot be read as Parquet ({str(error).splitlines()[0]}). Collect anew: `dvc repro -f collect`."
        ) from None
