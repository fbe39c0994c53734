"""CSV, JSON-lines and Parquet files as found, or an error that says what is wrong with the file and what to do."""

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

import orjson
import pandas as pd
import pyarrow
import pyarrow.parquet
from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from core.errors import SchemaError, SourceError
from core.params import Section

Format = Literal["csv", "jsonl", "parquet"]

_ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".inter": "csv",
    ".item": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SAMPLE = 4 * 2**20
_SEPARATORS = ";\t|,"
_SHEETS = {".xlsx", ".xls", ".ods", ".numbers"}
_NO_NUMBER = re.compile(r"(?<![\w\"])-?(?:NaN|Infinity)(?![\w\"])")


class FileForm(Section):
    """How a mapping says that a file is written.

    Attributes:
        format: by the file's ending when absent.
        encoding: of CSV and JSON lines.
        separator: of CSV, one character; a comma, or a tab for .tsv, when absent.
        nulls: CSV cells that mean "unknown" besides the empty one.
    """

    format: Format | None = None
    encoding: str = "utf-8"
    separator: str | None = None
    nulls: list[str] = Field(default=[])

    @field_validator("separator")
    @classmethod
    def _one_character(cls, separator: str | None) -> str | None:
        """Pandas would read two as a regular expression."""
        if separator is not None and (len(separator) != 1 or separator in '\r\n"'):
            raise PydanticCustomError("separator", 'one character is needed, no line break and no quotation mark, such as ";" or "\\t"')
        return separator

    def read(self, path: Path) -> pd.DataFrame:
        """`read_file` in this form."""
        return read_file(path, form=self.format, encoding=self.encoding, separator=self.separator, nulls=self.nulls)


def find_files(folder: Path, pattern: str) -> list[Path]:
    """The files that a name or pattern stands for, sorted by name.

    Args:
        folder: where relative patterns start.
        pattern: a path, or a glob such as ``events-*.parquet``.

    Raises:
        SourceError: there is none.
    """
    whole = Path(pattern)
    found = sorted(whole.parent.glob(whole.name) if whole.is_absolute() else folder.glob(pattern))
    files = [path for path in found if path.is_file()]
    if not files:
        here = ", ".join(sorted(path.name for path in folder.iterdir())[:20]) if folder.is_dir() else "no such folder"
        raise SourceError(f"{pattern}: no such file in {folder} (there: {here or 'nothing'}). Mend the path.")
    return files


def read_file(
    path: Path, *, form: Format | None = None, encoding: str = "utf-8", separator: str | None = None, nulls: Sequence[str] = ()
) -> pd.DataFrame:
    """Read one file; CSV cells stay text, so that nothing is guessed.

    Args:
        path: the file; CSV and JSON lines may be compressed (.gz).
        form: the format; by the file's ending when None.
        encoding: of CSV and JSON lines.
        separator: of CSV; a comma, or a tab for .tsv, when None.
        nulls: CSV cells that mean "unknown" besides the empty one.

    Returns:
        The rows, under the file's own column names.

    Raises:
        SourceError: no such file, empty, truncated, damaged, of another encoding, or not of its format.
        SchemaError: a CSV has two columns of one name.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file. Mend the path.")
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty (0 bytes). Export it again, or take it out of the mapping.")
    if path.suffix.lower() == ".gz":
        _require_whole_gzip(path)
    ending = _ending(path)
    form = form or _ENDINGS.get(ending)
    if form is None:
        way = "Save the sheet as CSV UTF-8" if ending in _SHEETS else "Say `format: csv`, `jsonl` or `parquet`"
        raise SourceError(f"{path}: cannot tell the format from the ending {path.suffix!r}. {way}.")
    try:
        if form == "parquet":
            frame = _read_parquet(path)
        elif form == "jsonl":
            frame = _read_json_lines(path, encoding)
        else:
            frame = _read_csv(path, encoding, separator or ("\t" if ending == ".tsv" else ","), nulls)
    except UnicodeError:
        raise SourceError(_wrong_encoding(path, encoding)) from None
    except LookupError:
        raise SourceError(f"{path}: no encoding is named {encoding!r}. Python's names serve: utf-8, gb18030, big5, utf-16, …") from None
    if frame.empty:
        raise SourceError(f"{path}: the file holds no rows, only {len(frame.columns)} column names. Export it again, or take it out.")
    return frame


def is_json_lines(path: Path, form: Format | None) -> bool:
    """Whether a file is JSON lines by what the mapping says, or by its ending where it says nothing."""
    return (form or _ENDINGS.get(_ending(path))) == "jsonl"


def _ending(path: Path) -> str:
    """In small letters, without .gz."""
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def _opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    return gzip.GzipFile(path) if path.suffix.lower() == ".gz" else path.open("rb")


def _codec(encoding: str) -> str:
    """Python's name of an encoding, of UTF-8 the one that skips a byte order mark."""
    return "utf-8-sig" if encoding.lower().replace("-", "").replace("_", "") == "utf8" else encoding


def _require_whole_gzip(path: Path) -> None:
    """Read a compressed file through, so that a damaged one is named as such and not by what its wrong bytes look like."""
    try:
        with gzip.open(path) as handle:
            while handle.read(_SAMPLE):
                pass
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise SourceError(
            f"{path}: cannot be decompressed: {error}. Is the file truncated, or not compressed at all? "
            "Copy it again, or take .gz off its name."
        ) from None


def _read_csv(path: Path, encoding: str, separator: str, nulls: Sequence[str]) -> pd.DataFrame:
    try:
        _require_distinct(path, _first_cells(path, encoding, separator))
        return pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            encoding=_codec(encoding),
            keep_default_na=False,
            na_values=["", *nulls],
            index_col=False,
        )
    except pd.errors.EmptyDataError:
        raise SourceError(f"{path}: the file is empty: no line with column names. Export it again.") from None
    except pd.errors.ParserError as error:
        raise SourceError(f"{path}: not a well-formed CSV: {error}. Mend the line, or set `separator`.") from None


def _first_cells(path: Path, encoding: str, separator: str) -> pd.Series:
    first = pd.read_csv(path, sep=separator, dtype=str, encoding=_codec(encoding), keep_default_na=False, header=None, nrows=1)
    return first.iloc[0]


def _require_distinct(path: Path, header: pd.Series) -> None:
    """Pandas would rename the second column of a name, and a mapping would take the first without a word."""
    header = header[header != ""]
    again = header[header.duplicated()].unique()
    if len(again):
        names = ", ".join(f"{name!r} ({(header == name).sum()} times)" for name in again)
        raise SchemaError(f"{path}: the line with column names repeats {names}. Give each column a name of its own.")


def _read_json_lines(path: Path, encoding: str) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    with io.TextIOWrapper(_opened(path), encoding=_codec(encoding), newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                what = _not_an_object(path, line, begun=bool(rows)) or f"line {number} is not JSON ({error}). {_remedy(line)}"
                raise SourceError(f"{path}: {what}") from None
            if not isinstance(row, dict):
                what = _not_an_object(path, line, begun=bool(rows))
                raise SourceError(f"{path}: {what or f'line {number} holds {type(row).__name__}; a JSON object a line is needed.'}")
            rows.append(row)
    return pd.DataFrame(rows)


def _not_an_object(path: Path, line: str, *, begun: bool) -> str:
    """What a file is that does not begin with an object, when it is an array; nothing for other lines."""
    if begun or not line.lstrip().startswith("["):
        return ""
    unpack = "gzip -dc" if path.suffix.lower() == ".gz" else "cat"
    lines = f"{path.name.split('.')[0]}.lines.jsonl"
    return f"it holds a JSON array; one JSON object a line is needed: {unpack} {path.name} | jq -c '.[]' > {lines}"


def _remedy(line: str) -> str:
    if (found := _NO_NUMBER.search(line)) is not None:
        return f"JSON has no {found[0]}: write null, or leave the key out."
    return "Write it again." if line.endswith("\n") else "Is the file truncated? Write it again."


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise SourceError(
            f"{path}: cannot be read as Parquet: {reason} Is the file truncated, or still being written? Copy it again."
        ) from None


def other_separator(columns: Iterable[object]) -> str:
    """What to do about a CSV that was read as one column because another character separates its cells.

    Args:
        columns: names as read.

    Returns:
        A sentence without its full stop, or nothing where it does not look so.
    """
    names = [str(column) for column in columns]
    inside = [mark for mark in _SEPARATORS if len(names) == 1 and mark in names[0]]
    return f"It was read as one column, and {inside[0]!r} stands in its name: set `separator: {json.dumps(inside[0])}`" if inside else ""


def guess_encoding(data: bytes) -> str | None:
    """What encoding bytes that are not UTF-8 are probably in.

    Args:
        data: the beginning of a file.

    Returns:
        A Python encoding name, or None.
    """
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name
    if data.count(b"\0") > len(data) // 4:
        return "utf-16-le"
    for name in ("gb18030", "big5", "shift_jis"):
        try:
            data[: data.rfind(b"\n") + 1 or len(data)].decode(name)
        except UnicodeDecodeError:
            continue
        return name
    return "cp1252"


def _wrong_encoding(path: Path, encoding: str) -> str:
    with _opened(path) as handle:
        guess = guess_encoding(handle.read(_SAMPLE))
    named = {"gb18030": "GBK (GB18030)"}.get(guess or "", guess)
    remedy = f"iconv -f {str(guess).upper()} -t UTF-8 {path.name} > {path.stem}.utf8{path.suffix}"
    return (
        f"{path}: not {encoding.upper()} ({_wrong_byte(path, encoding)}); it looks like {named}. "
        f"Set `encoding: {guess}` for it in the mapping, or convert it: {remedy}"
    )


def _wrong_byte(path: Path, encoding: str) -> str:
    """The first byte that is not of the encoding, and its line, in words."""
    decoder, number = codecs.getincrementaldecoder(_codec(encoding))(), 1
    with _opened(path) as lines:
        for line in chain(lines, [b""]):
            state = decoder.getstate()
            try:
                number += decoder.decode(line, final=not line).count("\n")
            except UnicodeDecodeError as error:
                decoder.setstate(state)  # a line feed of two bytes may end at the beginning of what is read as the next line
                number += decoder.decode(line[: max(error.start - len(state[0]), 0)]).count("\n")
                return f"byte 0x{error.object[error.start]:02X} in line {number} cannot be decoded"
            except UnicodeError as error:  # UTF-16 or UTF-32 without a byte order mark
                return str(error)
    return "a byte cannot be decoded"
