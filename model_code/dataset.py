"""From files to columns to splits. Parsing is pyarrow's, conversion is vectorised; Python touches single rows only to
name the line of an error.

A file is read in blocks, as many at once as there are processors, and a block is gone once its columns are: the text of
a table is never in memory as a whole. Numbers are kept in single precision where that is precise enough.
"""

from __future__ import annotations

import codecs
import csv
import io
import mmap
import os
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

import numerals
from numerals import Spelling
from preprocess import MISSING_TOKENS, Column, Numbers, Texts, take

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
FEWEST_ROWS = 20
BLOCK_BYTES = 2 * 2**20  # of text that one thread takes at a time
HEAD_BYTES = 2**20  # of text that tells which columns hold numbers
PARQUET_ROWS = 2**17  # that are taken at a time
VALIDATION_SHARE = 0.15
TEST_SHARE = 0.15

_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_NULLS = sorted(
    {form for token in MISSING_TOKENS for form in (token, token.upper(), token.capitalize())} | {"NaN", "-NaN"}
)
_FEWEST_WITH_UNIT = 3  # different texts; two that end alike might as well be categories
_LOOKS_NUMERIC = 0.99  # a text column with at least this share of numbers is a numeric column with a mistake in it,
_MANY_NUMBERS = 20  # if it has more different numbers than this; otherwise its numbers are taken as names of categories


class DataError(Exception):
    """The dataset can't be trained on; the message is one sentence for the person who dropped it."""


@dataclass(frozen=True)
class Layout:
    """How to read the files, as the platform has decided it."""

    label_position: int
    header: bool
    delimiter: str
    encoding: str
    task: str


@dataclass(frozen=True)
class Rows:
    """One split: a column per feature, and the label as class positions or numbers."""

    columns: list[Column]
    label: NDArray[Any]

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, chosen: slice | NDArray[np.int64]) -> Rows:
        return Rows([take(column, chosen) for column in self.columns], self.label[chosen])


@dataclass(frozen=True)
class Dataset:
    """Everything training needs from the files."""

    names: list[str]  # of the features
    label_name: str
    classes: list[Any] | None
    train: Rows
    validation: Rows
    test: Rows
    rows_without_label: int


@dataclass(frozen=True)
class _File:
    """One file's features, and its label: texts for classes, numbers for regression."""

    path: Path
    names: list[str]
    label_name: str
    columns: list[Column]
    label: Column
    rows_without_label: int

    def spelling(self, position: int, layout: Layout) -> Spelling | None:
        """Of a column that holds numbers, counted with the label in its place."""
        feature = position - (position > layout.label_position)
        column = self.label if position == layout.label_position else self.columns[feature]
        return column.spelling if isinstance(column, Numbers) else None


def load(folder: Path, layout: Layout, seed: int) -> Dataset:
    """Reads the channel: one file of any name, or train.* with validation.* and test.* where there are any.

    Raises DataError.
    """
    paths = data_files(folder)
    train = _read(paths["train"], layout)
    others = [_read(paths[split], layout, like=train) for split in ("validation", "test") if split in paths]
    files = [train, *others]
    usable = sum(len(_codes_or_values(file.label)) for file in files)
    if usable < FEWEST_ROWS:
        raise DataError(f"The dataset has {usable} usable rows; at least {FEWEST_ROWS} are needed.")
    if layout.task == "regression":
        classes = None
        labels: list[NDArray[Any]] = [file.label.values for file in files if isinstance(file.label, Numbers)]
        if np.ptp(labels[0]) == 0:
            raise DataError(
                f"The label {train.label_name!r} is {labels[0][0]:g} in every row; there is nothing to learn."
            )
    else:
        classes, labels = _classes(files, layout.task)
    parts = {"train": Rows(train.columns, labels[0])}
    for split, file, label in zip([s for s in ("validation", "test") if s in paths], others, labels[1:], strict=True):
        if not len(label):
            raise DataError(f"{file.path.name} has no usable row.")
        if split == "test" and classes is not None and (label == label[0]).all():
            raise DataError(f"{file.path.name} has rows of one class only; models can't be compared on it.")
        parts[split] = Rows(file.columns, label)
    shares = {}
    if "validation" not in parts:
        shares["validation"] = VALIDATION_SHARE
    if "test" not in parts:
        shares["test"] = TEST_SHARE
    if shares:
        parts |= _split(parts["train"], shares, stratify=classes is not None, seed=seed)
    # What reading has freed goes back to the machine, not into reserve: by Arrow's allocator, and by the C library's.
    for pool in (pa.default_memory_pool(), pa.system_memory_pool()):
        pool.release_unused()
    return Dataset(
        names=train.names,
        label_name=train.label_name,
        classes=None if classes is None else _as_they_stood(classes),
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        rows_without_label=sum(file.rows_without_label for file in files),
    )


def data_files(folder: Path) -> dict[str, Path]:
    """The channel's files by split; a single file of another name counts as train.

    Raises DataError when they are not one of the two allowed sets.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    by_stem = {path.name.split(".", 1)[0].lower(): path for path in paths}
    if "train" in by_stem and len(by_stem) == len(paths) and set(by_stem) <= {"train", "validation", "test"}:
        return by_stem
    if len(paths) == 1:
        return {"train": paths[0]}
    names = ", ".join(path.name for path in paths) or "no file"
    raise DataError(f"Expected one data file, or train.* with validation.* and test.*, but found {names}.")


def _read(path: Path, layout: Layout, like: _File | None = None) -> _File:
    """One file; `like` is the training file, whose column kinds this one must have."""
    texts = set() if layout.task == "regression" else {layout.label_position}
    if like is not None:
        texts |= {_position(i, layout) for i, column in enumerate(like.columns) if isinstance(column, Texts)}
    source = _Text(path, layout) if _first_bytes(path) != _PARQUET_MAGIC else None
    names, parts = (source.names, source.parse(texts)) if source else _parse_parquet(path, layout, texts)
    if not 0 <= layout.label_position < len(names):
        raise DataError(
            f"{path.name} has {len(names)} columns; the label is said to be in column {layout.label_position + 1}."
        )
    if like is not None:
        expected = [*like.names]
        expected.insert(layout.label_position, like.label_name)
        if names != expected:
            raise DataError(f"{path.name} does not have the columns of {like.path.name}.")
    if len(names) < 2:
        raise DataError(f"{path.name} has only the label column; at least one other is needed.")
    columns: list[Column] = []
    # Where semicolons separate fields, commas may be decimal; but not beside numbers that have a decimal point.
    decimal_comma = layout.delimiter == "semicolon" and not any(part.has_fractions for part in parts)
    for position, name in enumerate(names):
        trained = like.spelling(position, layout) if like else None
        column = parts[position].column(as_text=position in texts, decimal_comma=decimal_comma, spelling=trained)
        if isinstance(column, Texts) and position not in texts:
            must = like is not None or (position == layout.label_position)
            _refuse_stray_text(
                column,
                must,
                name,
                path,
                source,
                spelling=trained,
                decimal_comma=decimal_comma,
            )
        columns.append(column)
    label = columns.pop(layout.label_position)
    labelled = label.codes >= 0 if isinstance(label, Texts) else ~np.isnan(label.values)
    dropped = int(len(labelled) - labelled.sum())
    if dropped and not labelled.any():
        raise DataError(
            f"The label {names[layout.label_position]!r} has no value in any of the {dropped} rows of {path.name}; "
            "there is nothing to learn."
        )
    if dropped:
        keep = np.flatnonzero(labelled)
        label = take(label, keep)
        for place, column in enumerate(columns):
            columns[place] = take(column, keep)
    label_name = names.pop(layout.label_position)
    return _File(path, names, label_name, columns, label, dropped)


def _position(feature: int, layout: Layout) -> int:
    return feature if feature < layout.label_position else feature + 1


def _first_bytes(path: Path) -> bytes:
    for piece in _unpacked(path):
        return piece[:4]
    return b""


def _unpacked(path: Path) -> Iterator[bytes]:
    """The file in pieces, decompressed as it is read. Raises DataError for a gzip that is damaged or cut off."""
    with path.open("rb") as file:
        piece = file.read(BLOCK_BYTES)
        if piece[:2] != _GZIP_MAGIC:
            while piece:
                yield piece
                piece = file.read(BLOCK_BYTES)
            return
        member = zlib.decompressobj(wbits=31)  # 31: gzip's own header and checksum
        try:
            while piece:
                yield member.decompress(piece, BLOCK_BYTES)
                piece = member.unconsumed_tail or (b"" if member.eof else file.read(BLOCK_BYTES // 4))
                if member.eof:
                    # Files may follow one another, and be padded with zeros.
                    piece = (member.unused_data or file.read(BLOCK_BYTES // 4)).lstrip(b"\0")
                    if piece:
                        member = zlib.decompressobj(wbits=31)
        except zlib.error as error:
            raise DataError(f"{path.name} is a damaged gzip file ({error}).") from None
        if not member.eof:
            raise DataError(f"{path.name} is a gzip file that ends too early.")


def _parse_parquet(path: Path, layout: Layout, texts: set[int]) -> tuple[list[str], list[_Growing]]:
    """The columns, read a piece of a row group at a time."""
    import pyarrow.parquet as pq  # most drops are CSV; 40 ms

    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP_MAGIC
        source = pa.BufferReader(b"".join(_unpacked(path))) if packed else str(path)
        with pq.ParquetFile(source) as table:
            names = table.schema_arrow.names
            parts: list[_Growing] = [_Growing() for _ in names]
            for batch in table.iter_batches(PARQUET_ROWS):
                for position, array in enumerate(batch.columns):
                    parts[position].add(_part(array, position in texts, position == layout.label_position))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is a damaged Parquet file ({_first_line(error)}).") from None
    return _unique(names), parts


class _NotNumbers(Exception):
    """Columns that were taken for numbers hold something else in a later block."""

    def __init__(self, positions: set[int]) -> None:
        super().__init__(positions)
        self.positions = positions


class _Text:
    """A delimited text file, read block by block, its header apart."""

    def __init__(self, path: Path, layout: Layout) -> None:
        self.path = path
        self.layout = layout
        self.delimiter = DELIMITERS[layout.delimiter]
        head = bytearray()
        for piece in self._pieces():
            head += piece
            if len(head) >= HEAD_BYTES:
                break
        if not head.strip():
            raise DataError(f"{path.name} is empty.")
        self.line_end = b"\n" if b"\n" in head else b"\r"
        first, lines = self._first_record(bytes(head[:HEAD_BYTES]))
        self.header_lines = lines if layout.header else 0
        self.start = 0
        if layout.header:
            self.names = _unique([name.strip() or f"column_{i}" for i, name in enumerate(first)])
            for _ in range(lines):
                self.start = head.find(self.line_end, self.start) + 1 or len(head)
        else:
            self.names = [f"column_{i}" for i in range(len(first))]
        if not head[self.start :].strip() and len(head) < HEAD_BYTES:
            raise DataError(f"{path.name} has a header and no rows.")

    def _pieces(self) -> Iterator[bytes]:
        """The whole file as UTF-8 without byte order mark or leading blank lines."""
        began = False
        for piece in self._decoded():
            content = piece if began else piece.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
            if content:
                began = True
                yield content

    def _decoded(self) -> Iterator[bytes]:
        if self.layout.encoding == "utf-8":
            yield from _unpacked(self.path)
            return
        decoder = codecs.getincrementaldecoder(self.layout.encoding)()
        try:
            for piece in _unpacked(self.path):
                yield decoder.decode(piece).encode()
            yield decoder.decode(b"", final=True).encode()
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path.name} is not {self.layout.encoding} text: {error.reason}.") from None

    def _first_record(self, head: bytes) -> tuple[list[str], int]:
        reader = csv.reader(io.StringIO(head.decode(errors="replace"), newline=""), delimiter=self.delimiter)
        try:
            return next(reader), reader.line_num
        except (csv.Error, StopIteration) as error:
            raise DataError(f"{self.path.name} has an unreadable first line ({error}).") from None

    def _blocks(self) -> Iterator[memoryview]:
        """The rows behind the header in blocks of whole rows."""
        rest, skip = b"", self.start
        for piece in self._pieces():
            block = rest + piece
            if skip:
                block, skip = block[skip:], max(0, skip - len(block))
            end = self._end_of_rows(block) if len(block) >= HEAD_BYTES else 0
            rest = block[end:]
            if end:
                yield memoryview(block)[:end]
        if rest.strip(b"\r\n"):
            yield memoryview(rest + self.line_end)

    def _end_of_rows(self, block: bytes) -> int:
        """Behind the last line end that is not inside quotes; 0 if there is none."""
        end = block.rfind(self.line_end)
        quotes = block.count(b'"', 0, end) if end >= 0 else 0
        while end >= 0 and quotes % 2:
            # An odd number of quotes before it: the line end is in the value that the last of them opens.
            quote = block.rfind(b'"', 0, end)
            end = block.rfind(self.line_end, 0, quote)
            quotes = block.count(b'"', 0, end) if end >= 0 else 0
        return end + 1

    def parse(self, texts: set[int]) -> list[_Growing]:
        """The columns; those in `texts` as they stand, the others as numbers where they are."""
        texts = set(texts)
        try:
            for block in self._blocks():
                # What the first block looks like; a later block that differs is met below.
                texts |= self._inferred_texts(
                    block[: self._end_of_rows(bytes(block[:HEAD_BYTES])) or len(block)], texts
                )
                break
            while True:
                try:
                    return self._parse_blocks(self._blocks(), texts)
                except _NotNumbers as error:
                    texts |= error.positions
        except pa.ArrowInvalid as error:
            problem = self._explain(error)
            if problem is None:
                # Blocks are cut by counting quotes, which stray ones mislead.
                whole = memoryview(b"".join(self._blocks()))
                return self._parse_blocks([whole], set(range(len(self.names))), whole=True)
            raise problem from None

    def _parse_blocks(self, blocks: Iterable[memoryview], texts: set[int], whole: bool = False) -> list[_Growing]:
        parts: list[_Growing] = [_Growing() for _ in self.names]
        waiting: deque[Future[list[Any]]] = deque()

        def collect() -> None:
            for column, part in zip(parts, waiting.popleft().result(), strict=True):
                column.add(part)

        threads = os.cpu_count() or 1
        pool = ThreadPoolExecutor(threads)
        try:
            for block in blocks:
                waiting.append(pool.submit(self._parse_block, block, texts, whole))
                if len(waiting) > threads:
                    collect()
            while waiting:
                collect()
        finally:
            pool.shutdown(cancel_futures=True)
        return parts

    def _parse_block(self, block: memoryview, texts: set[int], whole: bool) -> list[Any]:
        types = {
            str(i): pa.dictionary(pa.int32(), pa.string()) if i in texts else pa.float64()
            for i in range(len(self.names))
        }
        try:
            table = self._table(block, types, whole)
        except pa.ArrowInvalid as error:
            if "CSV conversion error to double" not in str(error):
                raise
            raise _NotNumbers(self._inferred_texts(block, texts)) from None
        label = self.layout.label_position
        return [_part(column, i in texts, i == label) for i, column in enumerate(table.columns)]

    def _inferred_texts(self, block: memoryview, texts: set[int]) -> set[int]:
        """Which of the other columns do not hold numbers in this block."""
        table = self._table(block, {str(i): pa.string() for i in texts})
        return {i for i, column in enumerate(table.columns) if i not in texts and not _numeric(column.type)}

    def _table(self, block: memoryview, types: dict[str, Any], whole: bool = False) -> Any:
        labels = [str(i) for i in range(len(self.names))]
        return pa_csv.read_csv(
            pa.BufferReader(block),
            read_options=pa_csv.ReadOptions(column_names=labels, use_threads=False, block_size=len(block) + 1),
            parse_options=pa_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=whole),
            convert_options=pa_csv.ConvertOptions(
                column_types=types, null_values=_NULLS, strings_can_be_null=True, quoted_strings_can_be_null=True
            ),
        )

    def _records(self, strict: bool) -> Iterator[tuple[list[str], int]]:
        """The file's records once more, with the number of lines up to each one's end, to name a line."""

        def lines() -> Iterator[str]:
            decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
            rest = ""
            for piece in self._pieces():
                rest += decoder.decode(piece)
                *whole, rest = io.StringIO(rest, newline="")
                yield from whole
            yield rest

        reader = csv.reader(lines(), delimiter=self.delimiter, strict=strict)
        for record in reader:
            yield record, reader.line_num

    def _explain(self, error: Exception) -> DataError | None:
        """What is wrong with the file; None where this reader finds nothing wrong."""
        name = self.path.name
        if "UTF8" in str(error):
            return DataError(f"{name} holds bytes that are not UTF-8 text.")
        width = len(self.names)
        line = 0
        try:
            for record, end in self._records(strict=True):
                if record and len(record) != width:
                    return DataError(f"Line {line + 1} of {name} has {len(record)} columns where {width} are expected.")
                line = end
        except csv.Error as problem:
            what = (
                "opens a quote that never closes"
                if "unexpected end" in str(problem)
                else f"can't be parsed ({problem})"
            )
            return DataError(f"Line {line + 1} of {name} {what}.")
        return None

    def lines_of(self, rows: list[int]) -> list[int]:
        """The lines, from 1, on which rows (ascending, from 0, header not counted) begin."""
        wanted = deque(rows)
        lines: list[int] = []
        row, line = -1 if self.header_lines else 0, 0
        for record, end in self._records(strict=False):
            if record:
                if row == wanted[0]:
                    lines.append(line + 1)
                    wanted.popleft()
                    if not wanted:
                        break
                row += 1
            line = end
        return lines


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 2
        while candidate in seen:
            candidate, number = f"{name}_{number}", number + 1
        seen.add(candidate)
        unique.append(candidate)
    return unique


def _numeric(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind))


def _part(array: Any, as_text: bool, exact: bool) -> Any:
    """A block of a column: numbers in NumPy, or texts as an Arrow dictionary. Numbers are narrowed unless `exact`."""
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if _numeric(array.type) and not as_text:
        values = _finite(array.cast(pa.float64()).to_numpy(zero_copy_only=False))
        return values if exact else _narrowed(values)
    kind = array.type
    if pa.types.is_dictionary(kind) and not pa.types.is_string(kind.value_type):
        array = array.cast(kind.value_type)
        kind = array.type
    if pa.types.is_dictionary(kind):
        return array.cast(pa.dictionary(pa.int32(), pa.string()))
    if not pa.types.is_string(kind):
        try:
            array = array.cast(pa.string())
        except pa.ArrowException:
            raise DataError(f"A column has the type {kind}, which can't be trained on.") from None
    return array.dictionary_encode()


def _finite(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN for what is infinite."""
    return values if np.isfinite(values.sum()) else np.where(np.isfinite(values), values, np.nan)


def _narrowed(values: NDArray[np.float64]) -> NDArray[Any]:
    """In single precision, unless that would blur them: whole numbers that it can't hold, a spread far smaller than the
    distance from zero, or a range that it does not have."""
    if not len(values):
        return values.astype(np.float32)
    low, high = np.fmin.reduce(values), np.fmax.reduce(values)
    largest = max(abs(low), abs(high))
    if largest >= 2**24:
        if largest >= 1e37 or bool((np.rint(values) == values).any()):
            return values
    elif 0 < largest < 1e-30:
        return values
    if high > low and largest > 256 * (high - low):
        return values
    return values.astype(np.float32)


class _Growing:
    """A column that grows by its parts.

    Its memory is mapped for it alone and goes back as a whole: a heap from which columns and blocks of text are taken
    by turns ends up twice as large as the columns.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.array: NDArray[Any] = np.empty(0, np.float32)
        self.distinct: list[Any] = []  # a text column's, by part; then `array` points into all of them together
        self.known = 0

    def add(self, part: Any) -> None:
        if isinstance(part, pa.DictionaryArray):
            missing = part.indices.is_null().to_numpy(zero_copy_only=False)
            values = part.indices.fill_null(0).to_numpy() + np.int32(self.known)
            values[missing] = -1
            self.distinct.append(part.dictionary)
            self.known += len(part.dictionary)
        else:
            values = part
        rows, self.rows = self.rows, self.rows + len(values)
        kind = np.promote_types(self.array.dtype, values.dtype) if rows else values.dtype
        if kind != self.array.dtype or self.rows > len(self.array):
            room = max(mmap.PAGESIZE, self.rows * 3 // 2 * kind.itemsize)
            before = self.array[:rows]
            self.memory = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            self.array = np.frombuffer(self.memory, kind)
            self.array[:rows] = before
        self.array[rows : self.rows] = values

    @property
    def has_fractions(self) -> bool:
        """Whether it holds numbers, and any that is not whole."""
        if self.distinct or self.array.dtype.kind != "f":
            return False
        values = self.array[: self.rows]
        return bool((np.isfinite(values) & (values % 1 != 0)).any())

    def column(self, *, as_text: bool, decimal_comma: bool = False, spelling: Spelling | None = None) -> Column:
        """What has grown; nothing can be added afterwards. `spelling` is the training file's, where it has one."""
        self.array = self.array[: self.rows]
        if not self.distinct:
            return Numbers(self.array)
        # Trimming and looking for missing values is done once per different text, not once per row.
        trimmed = pc.utf8_trim_whitespace(pa.concat_arrays(self.distinct))
        missing = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(sorted(MISSING_TOKENS)))
        kept = pc.if_else(missing, pa.scalar(None, trimmed.type), trimmed).dictionary_encode()
        places = np.append(kept.indices.fill_null(-1).to_numpy().astype(np.int32), np.int32(-1))
        codes = places[self.array]
        if not as_text:
            numbers, spelling = _numbers(kept.dictionary, spelling, decimal_comma)
            stray = set(kept.dictionary.filter(pa.array(np.isnan(numbers))).to_pylist())
            if stray <= numerals.DASHES and len(stray) < len(numbers):
                return Numbers(np.append(_finite(numbers), np.nan)[codes], spelling)
        return Texts(codes, kept.dictionary.to_pylist())


def _numbers(texts: Any, spelling: Spelling | None, decimal_comma: bool) -> tuple[NDArray[np.float64], Spelling | None]:
    """As _spelled; where numbers alone do not explain the texts, one unit behind them may."""
    if spelling is not None:
        return _spelled(_without(texts, spelling.unit), spelling, decimal_comma)
    numbers, found = _spelled(texts, None, decimal_comma)
    unit = _unit(texts.filter(pa.array(np.isnan(numbers)))) if len(texts) >= _FEWEST_WITH_UNIT else ""
    if not unit:
        return numbers, found
    numbers, found = _spelled(_without(texts, unit), None, decimal_comma)
    return numbers, replace(found or Spelling(), unit=unit)


def _unit(texts: Any) -> str:
    """What stands behind the numbers of all of these texts but dashes; empty where that is not the same."""
    texts = texts.filter(pc.invert(pc.is_in(texts, value_set=pa.array(sorted(numerals.DASHES)))))
    units = pc.unique(pc.struct_field(pc.extract_regex(texts, numerals.WITH_UNIT), "unit")).to_pylist()
    return str(units[0]) if len(units) == 1 and units[0] else ""


def _without(texts: Any, unit: str) -> Any:
    return pc.replace_substring_regex(texts, rf"\s*{re.escape(unit)}$", "") if unit else texts


def _spelled(texts: Any, spelling: Spelling | None, decimal_comma: bool) -> tuple[NDArray[np.float64], Spelling | None]:
    """The number of each text, NaN where it is none, and the spelling; None where plain numbers are all there is.

    `decimal_comma`: a lone comma is decimal unless the texts show otherwise, as where semicolons separate fields. Money
    shows otherwise: nobody writes three decimals of it.
    """
    plain = pc.match_substring_regex(texts, numerals.PLAIN)
    if pc.all(plain).as_py() in (True, None) and not (spelling and spelling.group == "."):
        return texts.cast(pa.float64()).to_numpy(zero_copy_only=False), spelling
    parts = pc.extract_regex(texts, numerals.AFFIXES)
    digits, before, after = (pc.struct_field(parts, name) for name in ("digits", "before", "after"))
    closed = pc.equal(pc.equal(pc.struct_field(parts, "open"), ""), pc.equal(pc.struct_field(parts, "close"), ""))
    whole = pc.and_(closed, pc.or_(pc.equal(before, ""), pc.equal(after, "")))
    digits = pc.replace_substring_regex(digits, numerals.ASIDE, "")
    if spelling is None:
        money = pc.any(pc.match_substring_regex(texts.filter(pc.fill_null(whole, False)), numerals.MONEY)).as_py()
        spelling = _spelling(digits, decimal_comma and not money)
    fits = pc.fill_null(pc.and_(whole, pc.match_substring_regex(digits, spelling.body)), False)
    digits = pc.replace_substring(digits, spelling.group, "") if spelling.group else digits
    digits = pc.if_else(fits, pc.replace_substring(digits, ",", "."), pc.if_else(plain, texts, None))
    values = digits.cast(pa.float64()).to_numpy(zero_copy_only=False)
    signs = pc.binary_join_element_wise(before, after, pc.struct_field(parts, "open"), "")
    negative = pc.and_(fits, pc.match_substring_regex(signs, "[-\u2212(]"))
    return np.where(pc.fill_null(negative, False).to_numpy(zero_copy_only=False), -values, values), spelling


def _spelling(digits: Any, decimal_comma: bool) -> Spelling:
    """What the texts themselves tell of dots and commas."""

    def count(pattern: str) -> int:
        return pc.sum(pc.match_substring_regex(digits, pattern)).as_py() or 0

    points, commas = count(numerals.POINT), count(numerals.COMMA)
    if commas > points or (commas == points and decimal_comma):
        return Spelling(",", "." if count(numerals.DOT_GROUPS) else "")
    return Spelling()


def _refuse_stray_text(
    column: Texts,
    must_be_numeric: bool,
    name: str,
    path: Path,
    source: _Text | None,
    *,
    spelling: Spelling | None,
    decimal_comma: bool,
) -> None:
    """Raises DataError for text among numbers: where only numbers may be, or where nearly everything is a number."""
    numeric = ~np.isnan(_numbers(pa.array(column.categories, pa.string()), spelling, decimal_comma)[0])
    known = column.codes >= 0
    stray = np.append(~numeric, False)[column.codes] & known
    share = 1 - stray.sum() / max(1, known.sum())
    if not must_be_numeric and (share < _LOOKS_NUMERIC or numeric.sum() <= _MANY_NUMBERS):
        return
    rows = np.flatnonzero(stray)[:3].tolist()
    places = [f"Line {line}" for line in source.lines_of(rows)] if source else [f"Row {row + 1}" for row in rows]
    texts = [repr(column.categories[column.codes[row]][:40]) for row in rows]
    if share > 0.5 or len(rows) == 1:
        where = f"{places[0]} of {path.name} has the text {texts[0]} in the numeric column {name!r}"
        raise DataError(f"{where}; correct it, or leave the field empty.")
    shown = ", ".join(f"{place[0].lower()}{place[1:]} has {text}" for place, text in zip(places, texts, strict=True))
    raise DataError(
        f"{stray.sum()} of the {known.sum()} values of {name!r} in {path.name} are not numbers ({shown}), and numbers "
        "are to be predicted; name another label, or another task, in job.json."
    )


def _codes_or_values(column: Column) -> NDArray[Any]:
    return column.values if isinstance(column, Numbers) else column.codes


def _classes(files: Sequence[_File], task: str) -> tuple[list[str], list[NDArray[Any]]]:
    """The classes that the training file holds, in order, and each file's labels as positions in it."""
    train = files[0].label
    assert isinstance(train, Texts)
    counts = np.bincount(train.codes, minlength=len(train.categories))
    classes = sorted((text for text, n in zip(train.categories, counts, strict=True) if n), key=_class_order)
    name = files[0].label_name
    if len(classes) == 1:
        raise DataError(f"Every row has the label {classes[0]!r}; at least two classes are needed.")
    if task == "binary" and len(classes) != 2:
        raise DataError(f"The label {name!r} has {len(classes)} classes; the task binary needs exactly 2.")
    for text, count in zip(train.categories, counts, strict=True):
        if count == 1:
            raise DataError(f"The class {text!r} of the label {name!r} has only 1 row; every class needs at least 2.")
    position = {text: i for i, text in enumerate(classes)}
    labels = []
    for file in files:
        assert isinstance(file.label, Texts)
        used = np.unique(file.label.codes)
        strange = [file.label.categories[i] for i in used if file.label.categories[i] not in position]
        if strange:
            raise DataError(f"{file.path.name} has the class {strange[0]!r}, which {files[0].path.name} does not have.")
        table = np.array([position.get(text, -1) for text in file.label.categories], dtype=np.int64)
        labels.append(table[file.label.codes])
    return classes, labels


def _class_order(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _as_they_stood(classes: list[str]) -> list[Any]:
    """Numbers where writing the number gives back every label's text, otherwise the texts."""
    for kind in (int, float):
        try:
            numbers = [kind(text) for text in classes]
        except ValueError:
            continue
        if [str(number) for number in numbers] == classes:
            return numbers
    return classes


def _split(rows: Rows, shares: dict[str, float], *, stratify: bool, seed: int) -> dict[str, Rows]:
    """Takes the shares out of the rows, of each class alike; what is left is train. The seed decides which rows.

    Each row has a random number of its own by its place, and the lowest go to the test. So rows that are appended leave
    those before them where they were, but for a few at the border: a live model that was trained on the shorter file
    has not seen the test rows of the longer one.
    """
    shuffled = np.argsort(np.random.default_rng(seed).random(len(rows)), kind="stable").astype(np.int32)
    groups = [shuffled[rows.label[shuffled] == of] for of in np.unique(rows.label)] if stratify else [shuffled]
    taken: dict[str, list[NDArray[np.int32]]] = {split: [] for split in ["train", *shares]}
    for group in groups:
        left = group
        # Test first: a class too small for all three splits is wanted where models are compared.
        for split in reversed(list(shares)):
            # One row of each class at least, so that every class is judged, but never the last one left for training.
            count = min(max(1, round(len(group) * shares[split])), len(left) - 1)
            taken[split].append(left[:count])
            left = left[count:]
        taken["train"].append(left)
    indices = {split: np.sort(np.concatenate(chosen)) for split, chosen in taken.items()}
    parts = {split: Rows([], rows.label[chosen]) for split, chosen in indices.items()}
    while rows.columns:  # one column at a time: the table is never there twice
        column = rows.columns.pop(0)
        for split, chosen in indices.items():
            parts[split].columns.append(take(column, chosen))
    return parts
