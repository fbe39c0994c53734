"""Which rows of a raw table are accepted, and why the others are not."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from core.columns import Columns
from core.errors import SchemaError
from core.identity import pseudonymise
from core.tables import PSEUDONYM, TABLES, TableSpec
from core.vocabulary import EventType
from tasks.cleaning.parse import Faults, Mask, any_of, parse_column


@dataclass
class Rows:
    """A table on its way from raw to clean.

    Attributes:
        spec: what the contract says about it.
        raw: the rows as found; row numbers are positions in it.
        columns: parsed columns, raw extras among them.
        refused: reason → rows that break the contract, ``(n_rows,)``.
        set_aside: reason → rows that are right and yet not used.
    """

    spec: TableSpec
    raw: pd.DataFrame
    columns: dict[str, pd.Series]
    refused: dict[str, Mask] = field(default_factory=dict)
    set_aside: dict[str, Mask] = field(default_factory=dict)

    @property
    def accepted(self) -> Mask:
        """Rows that nothing speaks against so far."""
        return ~self.broken & ~any_of(self.set_aside.values(), len(self.raw))

    @property
    def broken(self) -> Mask:
        """Rows that break the contract."""
        return any_of(self.refused.values(), len(self.raw))

    def refuse(self, reason: str, mask: pd.Series | Mask) -> None:
        """Add a reason.

        Args:
            reason: what is wrong, without the row's own values.
            mask: the rows it holds for; null counts as no.
        """
        _add(self.refused, reason, mask)

    def put_aside(self, reason: str, mask: pd.Series | Mask) -> None:
        """Add a reason that is no fault of the row.

        Args:
            reason: why it is not used.
            mask: the rows it holds for; null counts as no.
        """
        _add(self.set_aside, reason, mask)

    def reasons(self) -> tuple[npt.NDArray[np.intp], list[str]]:
        """The rows in quarantine, and all reasons of each, joined by semicolons."""
        rows = np.flatnonzero(~self.accepted)
        words = np.full(len(rows), "", dtype=object)
        for reason, mask in (*self.refused.items(), *self.set_aside.items()):
            here = mask[rows]
            words[here] = [f"{earlier}; {reason}" if earlier else reason for earlier in words[here]]
        return rows, words.tolist()

    def clean(self) -> pd.DataFrame:
        """The accepted rows under the contract's columns and types, in raw order."""
        keep = self.accepted
        types = {column.name: pd.api.types.pandas_dtype(column.dtype) for column in self.spec.columns}
        return pd.DataFrame({name: self.columns[name][keep].astype(dtype).reset_index(drop=True) for name, dtype in types.items()})


def _add(reasons: dict[str, Mask], reason: str, mask: pd.Series | Mask) -> None:
    found = mask.to_numpy(dtype=bool, na_value=False) if isinstance(mask, pd.Series) else mask
    if found.any():
        reasons[reason] = found


def read_rows(name: str, raw: pd.DataFrame) -> Rows:
    """Parse every column of a raw table; a column that may be null and is not there is null.

    Args:
        name: the table.
        raw: with at least the columns that may not be null.

    Returns:
        The rows with their own faults; rules across rows and tables are still to come.

    Raises:
        SchemaError: what the source refused cannot be read.
    """
    spec = TABLES[name]
    rows = Rows(spec=spec, raw=raw, columns={})
    refused = _refused_by_source(name, raw)
    for column in (*spec.columns, *spec.raw_extras):
        found = raw[column.name] if column.name in raw else pd.Series(None, index=raw.index, dtype="object")
        parsed = parse_column(found, column, refused.get(column.name))
        rows.columns[column.name] = parsed.values
        for reason, mask in parsed.faults.items():
            rows.refuse(reason, mask)
    return rows


def _refused_by_source(name: str, raw: pd.DataFrame) -> dict[str, Faults]:
    """Column → reason → rows whose cell the source could not convert: to read it here would be to read it under other rules."""
    found: dict[str, Faults] = {}
    if Columns.REFUSED_CELLS not in raw:
        return found
    notes = raw[Columns.REFUSED_CELLS]
    for note in notes.dropna().unique():
        here = (notes == note).to_numpy(dtype=bool, na_value=False)
        for column, reason in _reasons(name, note).items():
            faults = found.setdefault(column, {})
            faults[reason] = here | faults.get(reason, False)
    return found


def _reasons(name: str, note: str) -> dict[str, str]:
    try:
        return {str(column): str(reason) for column, reason in json.loads(note).items()}
    except (AttributeError, TypeError, ValueError):
        raise SchemaError(
            f"{name}: {Columns.REFUSED_CELLS} holds {note!r}, where a JSON object of columns and reasons is needed. "
            "Collect anew: `dvc repro -f collect`."
        ) from None


def judge_events(rows: Rows) -> None:
    """A search has a query and no item; every other event has an item and no query.

    Args:
        rows: of events; reasons are added.
    """
    kind, item, query = (rows.columns[name] for name in (Columns.EVENT_TYPE, Columns.ITEM, Columns.QUERY))
    search = kind == EventType.SEARCH
    rows.refuse(f"{Columns.QUERY}: missing on a search", search & query.isna())
    rows.refuse(f"{Columns.ITEM}: present on a search", search & item.notna())
    rows.refuse(f"{Columns.ITEM}: missing", ~search & kind.notna() & item.isna() & ~_faulty(rows, Columns.ITEM))
    rows.refuse(f"{Columns.QUERY}: present on an event that is no search", ~search & kind.notna() & query.notna())


def _faulty(rows: Rows, column: str) -> Mask:
    return any_of((mask for reason, mask in rows.refused.items() if reason.startswith(f"{column}: ")), len(rows.raw))


def judge_items(rows: Rows, known: pd.Series) -> None:
    """An item that is named must be an accepted one.

    Args:
        rows: of events, copies or impressions; a reason is added.
        known: ids of the accepted items.
    """
    item = rows.columns[Columns.ITEM]
    rows.refuse(f"{Columns.ITEM}: unknown item", item.notna() & ~item.isin(known))


def judge_times(rows: Rows, columns: Sequence[str], until: pd.Timestamp) -> None:
    """Nothing can have happened after the data were collected.

    Args:
        rows: reasons are added.
        columns: times to look at.
        until: `collected_until` of source.json, never the wall clock.
    """
    for column in columns:
        rows.refuse(f"{column}: in the future, later than the data were collected ({until.isoformat()})", rows.columns[column] > until)


def judge_shown(rows: Rows) -> None:
    """The creative that was shown must be among the candidates: support is defined on that set.

    Args:
        rows: of impressions; a reason is added.
    """
    pairs = zip(rows.columns[Columns.CREATIVE], rows.columns[Columns.CANDIDATES], strict=True)
    absent = [isinstance(creative, str) and names is not None and creative not in names for creative, names in pairs]
    rows.refuse(f"{Columns.CREATIVE}: not among the candidates", np.array(absent, dtype=bool))


def judge_duplicates(rows: Rows) -> None:
    """Of rows with one key the first good one stays.

    Args:
        rows: with all other reasons already added; a reason is added.
    """
    keys = pd.DataFrame({name: rows.columns[name] for name in rows.spec.key})[rows.accepted]
    mask = np.zeros(len(rows.raw), dtype=bool)
    mask[keys.index[keys.duplicated(keep="first")]] = True
    rows.refuse(f"{', '.join(rows.spec.key)}: duplicate of an earlier row", mask)


def cap_events(rows: Rows, limit: int) -> None:
    """Of each user the newest events stay; older ones are set aside.

    Args:
        rows: of events, all refusals already added; a reason is added.
        limit: events a user at the most.
    """
    here = np.flatnonzero(rows.accepted)
    users = pd.factorize(rows.columns[Columns.USER].iloc[here])[0]
    counts = np.bincount(users, minlength=1)
    if counts.max() <= limit:
        return
    times = rows.columns[Columns.TIMESTAMP].iloc[here].astype("int64").to_numpy()
    order = np.lexsort((here, times, users))  # by user, oldest first
    ends = np.cumsum(counts)[users[order]]
    mask = np.zeros(len(rows.raw), dtype=bool)
    mask[here[order[ends - np.arange(len(order)) > limit]]] = True
    rows.put_aside(f"{Columns.USER}: older than the newest {limit} events of this user (prepare.max_events_per_user)", mask)


def hide_users(rows: Rows, pseudonyms: Callable[[pd.Series], dict[str, str]]) -> None:
    """Put pseudonyms in the place of user ids; ids that are marked as pseudonyms are checked and kept.

    Args:
        rows: of events or impressions; its user column is replaced, a reason may be added.
        pseudonyms: raw id → pseudonym, for distinct raw ids.
    """
    user = rows.columns[Columns.USER]
    marked = rows.columns[Columns.PSEUDONYMOUS].fillna(False).astype(bool)
    wrong = marked & user.notna() & ~user.str.fullmatch(PSEUDONYM).fillna(False).astype(bool)
    rows.refuse(f"{Columns.USER}: marked as a pseudonym, but is none", wrong)
    raw = user.where(~marked | wrong)
    hidden = raw.map(pseudonyms(raw.dropna().drop_duplicates())).astype("str")
    rows.columns[Columns.USER] = user.where(marked & ~wrong, hidden)


def pseudonyms_with(key: bytes) -> Callable[[pd.Series], dict[str, str]]:
    """The mapping that `hide_users` takes, each distinct id hashed once.

    Args:
        key: see `core.identity.user_key`.
    """
    return lambda ids: dict(zip(ids, pseudonymise(ids, key), strict=True))


def late_conversions(rows: Rows, window: pd.Timedelta) -> int:
    """Take back conversions that came after their window.

    Args:
        rows: of impressions; ``conversion`` and ``value_micros`` are replaced where the conversion is late.
        window: how long after the impression a conversion counts.

    Returns:
        How many accepted rows it concerns.
    """
    late = (rows.columns[Columns.CONVERSION_TIME] - rows.columns[Columns.TIMESTAMP] > window) & rows.columns[Columns.CONVERSION].fillna(
        False
    )
    rows.columns[Columns.CONVERSION] = rows.columns[Columns.CONVERSION].mask(late, False)
    rows.columns[Columns.VALUE] = rows.columns[Columns.VALUE].mask(late, 0)
    return int((late.to_numpy(dtype=bool) & rows.accepted).sum())


def quarantine_of(tables: Mapping[str, Rows]) -> pd.DataFrame:
    """The quarantine table.

    Args:
        tables: judged rows by table, users already hidden.

    Returns:
        One row a refused or set-aside row, with all its reasons and the row as found (user ids as pseudonyms) as JSON.
    """
    parts = []
    for name, rows in tables.items():
        places, reasons = rows.reasons()
        frame = pd.DataFrame(
            {
                Columns.TABLE: name,
                Columns.ROW: pd.Series(places, dtype="Int64"),
                Columns.REASON: reasons,
                Columns.RECORD: _records(rows, places),
            }
        )
        parts.append(frame.astype({Columns.TABLE: "str", Columns.REASON: "str", Columns.RECORD: "str"}))
    return pd.concat(parts, ignore_index=True)


def _records(rows: Rows, places: npt.NDArray[np.intp]) -> list[str]:
    found = rows.raw.drop(columns=Columns.REFUSED_CELLS, errors="ignore").iloc[places].reset_index(drop=True)
    if Columns.USER in rows.columns and Columns.USER in found:
        found[Columns.USER] = rows.columns[Columns.USER].iloc[places].reset_index(drop=True)
    for column in [name for name in found if found[name].dtype == object or pd.api.types.is_float_dtype(found[name].dtype)]:
        # JSON has no infinity
        infinite = [isinstance(value, float) and np.isinf(value) for value in found[column]]
        if any(infinite):
            found[column] = found[column].astype("object").mask(np.array(infinite), found[column].astype("str"))
    if found.empty:
        return []
    text = found.to_json(orient="records", lines=True, force_ascii=False, date_format="iso", date_unit="us")
    return str(text).rstrip("\n").split("\n")
