"""From the beginning of a stored file to rows of text: compression, encoding, delimiter and quoting, found out.

Standard library only, and fast by leaving the loops to it: `csv.reader` makes one pass over an 8 MiB sample in well
under a second. Every complaint is a DataRejected that names the file and, where there is one, the line as an editor
counts it: quoted newlines count.
"""

from __future__ import annotations

import codecs
import csv
import gc
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from mlplatform.errors import DataRejected

SAMPLE_BYTES = 8 * 2**20  # how much of a file is looked at, and how much text of a compressed one
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}

_SNIFF_CHARACTERS = 2**18
_SNIFF_ROWS = 300
_GZIP = b"\x1f\x8b"
# The compressed rest of a file beyond the sample is only run through to see that it is whole, up to this much text.
_CHECKED_BYTES = 8 * SAMPLE_BYTES

# A file's first bytes, strict enough that no header line looks like one (a column may well be called PAR1).
_SIGNATURES = (
    (rb"\x1f\x8b", "gzip-compressed data (its name must then end in .csv.gz)"),
    (rb"PK\x03\x04(?s:.){0,4096}?(?:\[Content_Types\]|xl/)", "an Excel workbook (.xlsx)"),
    (rb"PK[\x03\x05][\x04\x06]", "a zip archive"),
    (rb"BZh[1-9]1AY&SY", "a bzip2 archive"),
    (rb"\xfd7zXZ\0", "an xz archive"),
    (rb"\x28\xb5\x2f\xfd", "a zstd archive"),
    (rb"7z\xbc\xaf", "a 7z archive"),
    (rb"Rar!\x1a", "a rar archive"),
    (rb"(?s:.){257}ustar", "a tar archive"),
    (rb"PAR1\x15", "a Parquet file"),
    (rb"ARROW1\0", "an Arrow file"),
    (rb"Obj\x01", "an Avro file"),
    (rb"\x89HDF", "an HDF5 file"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"SQLite format 3\0", "an SQLite database"),
    (rb"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)"),
    (rb"\x89PNG", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"GIF8[79]a", "a GIF image"),
    (rb"%PDF-", "a PDF document"),
    (rb"\x7fELF", "a program"),
    (rb"\s*<(?i:!doctype|html)", "a web page"),
    (rb"\s*<\?xml", "an XML document"),
    (rb"\s*\[?\s*\{\s*\"", "JSON"),
)
# Tab, line ends, form feed and the end-of-file mark of old editors are the only control characters that text has.
_CONTROLS = bytes(set(range(32)) - {9, 10, 12, 13, 26}) + b"\x7f"


@dataclass(frozen=True)
class Text:
    """A file's text, as far as the sample goes."""

    name: str
    content: str
    complete: bool
    encoding: str  # "utf-8", "utf-16" or "latin-1"
    ascii_only: bool  # then utf-8 and latin-1 read it alike
    remark: str  # a sentence on the encoding where it is not plain UTF-8, else empty


@dataclass(frozen=True)
class Rows:
    """A file's rows, the header included. The last row of an incomplete sample is left out: it may be cut."""

    text: Text
    delimiter: str  # a name of DELIMITERS
    rows: Sequence[Sequence[str]]

    @property
    def name(self) -> str:
        return self.text.name

    @property
    def complete(self) -> bool:
        return self.text.complete

    def line_of(self, row: int) -> int:
        """The line on which a row starts, counted from 1."""
        for position, line in enumerate(_start_lines(self._lines, DELIMITERS[self.delimiter])):
            if position == row:
                return line
        raise IndexError(row)

    @cached_property
    def _lines(self) -> list[str]:
        return _lines(self.text.content)


def decode(name: str, content: bytes, complete: bool) -> Text:
    """The text of a file, decompressed if its name ends in .gz.

    Raises DataRejected for an empty file, an archive or other binary content, and a damaged or truncated gzip.
    """
    if not content and complete:
        raise DataRejected(f"{name} is empty; drop a file with a header line and at least 20 rows.")
    if name.lower().endswith(".gz"):
        content, complete = _decompressed(name, content, complete)
        if not content and complete:
            raise DataRejected(f"{name} is empty once decompressed; drop a file with at least 20 rows.")
    elif len(content) > SAMPLE_BYTES:
        content, complete = content[:SAMPLE_BYTES], False
    _assert_text(name, content)
    text = _decoded(name, content, complete)
    if complete and not text.content.strip():
        raise DataRejected(f"{name} holds nothing but blank space; drop a file with at least 20 rows.")
    return text


def sniff(text: Text) -> str:
    """The name of the delimiter that makes the most even table of the text's beginning; comma if there is no table."""
    beginning = text.content[:_SNIFF_CHARACTERS]
    cut = not text.complete or len(text.content) > _SNIFF_CHARACTERS
    lines = _lines(beginning)
    best: tuple[tuple[bool, float, float, int], str] | None = None
    for name, delimiter in DELIMITERS.items():
        score = _evenness(lines, delimiter, cut)
        if score and (best is None or score > best[0]):
            best = (score, name)
    return best[1] if best else "comma"


def parse(text: Text, delimiter: str) -> Rows:
    """All rows; blank lines are skipped.

    Raises DataRejected for a quote that is not closed, and for the first row with another number of fields.
    """
    lines = _lines(text.content)
    reader = csv.reader(lines, delimiter=DELIMITERS[delimiter], strict=True)
    rows: list[list[str]] = []
    try:
        with _no_search_for_garbage():
            rows.extend(filter(None, reader))
        if not text.complete and rows:
            rows.pop()
    except csv.Error as error:
        # A sample may end inside a quoted field; that row is left out like any last one.
        if text.complete or "unexpected end of data" not in str(error):
            raise DataRejected(_quoting_problem(text, lines, delimiter)) from error
    _assert_even(text, lines, rows, delimiter)
    return Rows(text, delimiter, rows)


@contextmanager
def _no_search_for_garbage() -> Iterator[None]:
    """Rows come to stay, by the hundred thousand, and the collector would go through them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _decompressed(name: str, content: bytes, complete: bool) -> tuple[bytes, bool]:
    if not content.startswith(_GZIP):
        raise DataRejected(f"{name} is not a gzip file although its name ends in .gz; compress it, or rename it.")
    pieces: list[bytes] = []
    kept = checked = 0
    try:
        while content:
            member = zlib.decompressobj(wbits=31)  # 31: gzip's own header and checksum
            piece = b""
            while not member.eof and (content or len(piece) == SAMPLE_BYTES):
                piece = member.decompress(content, SAMPLE_BYTES)
                content = member.unconsumed_tail
                checked += len(piece)
                if kept < SAMPLE_BYTES:
                    pieces.append(piece)
                    kept += len(piece)
                if checked >= _CHECKED_BYTES or (kept >= SAMPLE_BYTES and not complete):
                    return b"".join(pieces)[:SAMPLE_BYTES], False
            if not member.eof:
                if complete:
                    raise DataRejected(
                        f"{name} ends in the middle of its compressed content, so it was not written or uploaded whole;"
                        f" compress and drop it again."
                    )
                return b"".join(pieces)[:SAMPLE_BYTES], False
            content = member.unused_data.lstrip(b"\0")  # gzip files may follow one another, and be padded with zeros
    except zlib.error as error:
        raise DataRejected(f"{name} is a damaged gzip file ({error}); compress and drop it again.") from error
    return b"".join(pieces)[:SAMPLE_BYTES], complete and checked <= SAMPLE_BYTES


def _assert_text(name: str, content: bytes) -> None:
    what = _signature(content)
    if what is None and not content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        beginning = content[: 2**16]
        if b"\0" in content:
            what = "UTF-16 text without a byte order mark" if _like_utf16(beginning) else "binary content"
        elif len(beginning.translate(None, _CONTROLS)) < 0.99 * len(beginning):
            what = "binary content"
    if what:
        hint = "save it as UTF-8" if "UTF" in what else "drop the table as plain CSV text, or compressed as .csv.gz"
        raise DataRejected(f"{name} holds {what} instead of delimited text; {hint}.")


def _signature(content: bytes) -> str | None:
    return next((what for pattern, what in _SIGNATURES if re.match(pattern, content)), None)


def _like_utf16(content: bytes) -> bool:
    """Latin text in UTF-16 has a zero in nearly every other byte."""
    half = max(1, len(content) // 2)
    zeros = (content[0::2].count(0) / half, content[1::2].count(0) / half)
    return max(zeros) > 0.7 and min(zeros) < 0.1


def _decoded(name: str, content: bytes, complete: bool) -> Text:
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise DataRejected(f"{name} is UTF-32 text, which is not read; save it as UTF-8.")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            text = codecs.getincrementaldecoder("utf-16")().decode(content, complete)
        except UnicodeDecodeError as error:
            raise DataRejected(
                f"{name} begins like UTF-16 text, but its byte {error.start + 1} does not fit; save it as UTF-8."
            ) from error
        if "\0" in text:
            raise DataRejected(f"{name} holds binary content instead of delimited text; drop it as plain CSV text.")
        return Text(name, text, complete, "utf-16", False, f"{name} is read as UTF-16, as its byte order mark says.")
    try:
        # utf-8-sig swallows the byte order mark that spreadsheet programs write.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content, complete)
        return Text(name, text, complete, "utf-8", text.isascii(), "")
    except UnicodeDecodeError as error:
        line = len(re.findall(rb"\r\n|\r|\n", content[: error.start])) + 1
        remark = (
            f"{name} is read as Latin-1, because line {line} is not valid UTF-8 (byte 0x{content[error.start]:02X})."
        )
        return Text(name, content.decode("latin-1"), complete, "latin-1", False, remark)


def _lines(text: str) -> list[str]:
    """Physical lines with their ends: LF, CR LF or a lone CR. (str.splitlines would also split at other characters.)"""
    return list(io.StringIO(text, newline=""))


def _evenness(lines: Sequence[str], delimiter: str, cut: bool) -> tuple[bool, float, float, int] | None:
    """How good a table the delimiter makes; None if it makes none. Larger is better."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(lines, delimiter=delimiter):
            if row:
                rows.append(row)
            if len(rows) > _SNIFF_ROWS:
                break
    except csv.Error:
        pass  # what is wrong with the quoting is said by parse
    if (cut or len(rows) > _SNIFF_ROWS) and len(rows) > 1:
        rows.pop()
    if not rows:
        return None
    width, often = Counter(map(len, rows)).most_common(1)[0]
    if width < 2:
        return None
    cells = [cell for row in rows for cell in row]
    clean = sum(not _splittable(cell, delimiter) for cell in cells) / len(cells)
    return len(rows[0]) == width, often / len(rows), clean, width


def _splittable(cell: str, delimiter: str) -> bool:
    """Whether another delimiter would cut the cell again. A comma inside a number is a decimal comma."""
    others = [other for other in DELIMITERS.values() if other != delimiter and other in cell]
    return bool(others) and not (others == [","] and re.fullmatch(r"\s*[-+]?[\d.\s]*,\d+\s*", cell))


def _start_lines(lines: Sequence[str], delimiter: str) -> Iterator[int]:
    reader = csv.reader(lines, delimiter=delimiter)
    before = 0
    for row in reader:
        if row:
            yield before + 1
        before = reader.line_num


def _assert_even(text: Text, lines: Sequence[str], rows: Sequence[Sequence[str]], delimiter: str) -> None:
    widths = Counter(map(len, rows))
    if len(widths) < 2:
        return
    # The first line sets the width, unless nearly all others agree on another: then it is a title or a broken header.
    width, often = widths.most_common(1)[0]
    if often < 0.9 * len(rows):
        width = len(rows[0])
    odd = next(position for position, row in enumerate(rows) if len(row) != width)
    even = next(position for position, row in enumerate(rows) if len(row) == width)
    starts = dict(zip(range(max(odd, even) + 1), _start_lines(lines, DELIMITERS[delimiter]), strict=False))
    fields = f"{len(rows[odd])} field{'s' * (len(rows[odd]) != 1)}"
    raise DataRejected(
        f"{text.name}, line {starts[odd]} has {fields} where line {starts[even]} has {width} (separated by "
        f"{delimiter}); correct that line, or put quotes around values that contain the delimiter."
    )


def _quoting_problem(text: Text, lines: Sequence[str], delimiter_name: str) -> str:
    """Where the quote opens that is not closed properly, found by walking along the row at which the reader failed."""
    delimiter = DELIMITERS[delimiter_name]
    start, error = _failing_row(lines, delimiter)
    row = "".join(lines[start:])
    position, column, end = 0, 1, -1
    while position < len(row):
        if row[position] == '"':
            end = _closing_quote(row, position)
            if end < 0 or row[end + 1 : end + 2] != delimiter:
                break
            position = end + 2
        else:
            following = row.find(delimiter, position)
            if following < 0:
                break
            position = following + 1
        column += 1
    where = f"{text.name}, line {start + 1 + _line_ends(row[:position])}"
    hint = 'close it, or write a quote inside a value as ""'
    if "field limit" in error:
        limit = f"{csv.field_size_limit():,} characters"
        if '"' not in row:
            return f"{where} has a value of more than {limit}, which no column of a table needs; shorten it."
        return f"{where}: a quoted value in this row is not closed within {limit}; {hint}."
    if end < 0:
        return f"{where}: the quote that opens column {column} is never closed; {hint}."
    closed = start + 1 + _line_ends(row[: end + 1])
    return (
        f"{where}: the quote that opens column {column} closes on line {closed} with more text right behind it; {hint}."
    )


def _failing_row(lines: Sequence[str], delimiter: str) -> tuple[int, str]:
    """How many lines are before the row that the strict reader refuses, and what it says."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    before = 0
    try:
        for _ in reader:
            before = reader.line_num
    except csv.Error as error:
        return before, str(error)
    raise AssertionError("the reader refused a row before, and now it does not")


def _line_ends(text: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", text))


def _closing_quote(row: str, opening: int) -> int:
    """The position of the quote that closes the one at `opening`; doubled quotes are skipped. -1 if there is none."""
    end = row.find('"', opening + 1)
    while end >= 0 and row.startswith('"', end + 1):
        end = row.find('"', end + 2)
    return end
