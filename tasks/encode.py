"""Stage encode: every distinct item, copy and query text through the encoder, once."""

import logging
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from core.columns import Columns
from core.files import read_json, read_table
from core.params import EncodeParams
from core.tracking import Tracker
from models.embeddings import Embeddings
from models.encoder import TextEncoder
from models.history import micros
from models.text import item_texts

log = logging.getLogger(__name__)


def encode(
    params: EncodeParams,
    *,
    rng: np.random.Generator,
    tracker: Tracker,
    items: Path,
    events: Path,
    copies: Path,
    lineage: Path,
    embeddings: Path,
    encoder: Path,
) -> None:
    """Encode texts and fit the corpus mean.

    Args:
        params: the encoder.
        rng: the stage's stream; nothing is drawn.
        tracker: receives the counts.
        items: the items table.
        events: the events table, for its queries.
        copies: the copies table.
        lineage: when training ends.
        embeddings: written: raw vectors by text.
        encoder: written: the encoder bundle with the mean over texts known before training ends.

    Raises:
        EncoderError: the encoder cannot be found or loaded.
    """
    catalogue = read_table(items, [Columns.ITEM, Columns.TITLE, Columns.CATEGORY, Columns.BRAND, Columns.ATTRIBUTES])
    catalogue_texts = pd.Series(item_texts(catalogue), index=catalogue[Columns.ITEM].astype(str), dtype=object)
    behaviour = read_table(events, [Columns.ITEM, Columns.QUERY, Columns.TIMESTAMP])
    written = read_table(copies, [Columns.ITEM, Columns.TEXT])
    queries = behaviour[Columns.QUERY].dropna()
    texts = sorted(set(catalogue_texts) | set(written[Columns.TEXT]) | set(queries))

    opened = TextEncoder.open(
        params.model,
        prefix=params.prefix,
        max_tokens=params.max_tokens,
        batch_tokens=params.batch_tokens,
        precision=params.precision,
    )
    made = Embeddings(tuple(texts), opened.encode(texts))
    known = _known_texts(behaviour, catalogue_texts, written, read_json(lineage)["train_end"])
    opened.fitted(made.vectors_of(known or texts)).save(encoder)
    made.save(embeddings)
    rows = len(catalogue_texts) + len(written) + len(queries)
    tracker.log_metrics({"texts": len(texts), "rows": rows, "mean_texts": len(known or texts), "dim": made.vectors.shape[1]})
    log.info("%d distinct texts of %d rows encoded by %s", len(texts), rows, params.model)


def _known_texts(behaviour: pd.DataFrame, catalogue_texts: pd.Series, written: pd.DataFrame, train_end: str) -> list[str]:
    before = behaviour[micros(behaviour[Columns.TIMESTAMP]) < micros(datetime.fromisoformat(train_end))[0]]
    seen = set(before[Columns.ITEM].dropna())
    of_items = catalogue_texts[catalogue_texts.index.isin(sorted(seen))]
    of_copies = written.loc[written[Columns.ITEM].isin(sorted(seen)), Columns.TEXT]
    return sorted(set(of_items) | set(of_copies) | set(before[Columns.QUERY].dropna()))
