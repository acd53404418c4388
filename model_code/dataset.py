"""From files to columns to splits. Parsing is pyarrow's, conversion is vectorised; Python touches single rows only to
name the line of an error."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from preprocess import MISSING_TOKENS, Column, Numbers, Texts

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
FEWEST_ROWS = 20
VALIDATION_SHARE = 0.15
TEST_SHARE = 0.15

_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_NULLS = sorted(
    {form for token in MISSING_TOKENS for form in (token, token.upper(), token.capitalize())} | {"NaN", "-NaN"}
)
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_DECIMAL_COMMA = r"^([+-]?\d*),(\d+)$"
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

    def __getitem__(self, chosen: slice) -> Rows:
        return Rows(
            [
                Numbers(column.values[chosen])
                if isinstance(column, Numbers)
                else Texts(column.codes[chosen], column.categories)
                for column in self.columns
            ],
            self.label[chosen],
        )


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
    raw = _unpacked(path)
    texts = set() if layout.task == "regression" else {layout.label_position}
    if like is not None:
        texts |= {_position(i, layout) for i, column in enumerate(like.columns) if isinstance(column, Texts)}
    if raw[:4] == _PARQUET_MAGIC:
        names, arrays = _parse_parquet(raw, path)
        source = None
    else:
        source = _Text(path, raw, layout)
        names, arrays = source.names, source.parse(texts)
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
    columns = []
    for position, (name, array) in enumerate(zip(names, arrays, strict=True)):
        column = _column(array, as_text=position in texts, decimal_comma=layout.delimiter == "semicolon")
        if isinstance(column, Texts) and position not in texts:
            must = like is not None or (position == layout.label_position)
            _refuse_stray_text(column, must, name, path, source)
        columns.append(column)
    label = columns.pop(layout.label_position)
    labelled = label.codes >= 0 if isinstance(label, Texts) else ~np.isnan(label.values)
    dropped = int(len(labelled) - labelled.sum())
    if dropped:
        keep = np.flatnonzero(labelled)
        label, columns = _take(label, keep), [_take(column, keep) for column in columns]
    label_name = names.pop(layout.label_position)
    return _File(path, names, label_name, columns, label, dropped)


def _position(feature: int, layout: Layout) -> int:
    return feature if feature < layout.label_position else feature + 1


def _unpacked(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:2] == _GZIP_MAGIC:
        try:
            raw = gzip.decompress(raw)
        except EOFError:
            raise DataError(f"{path.name} is a gzip file that ends too early.") from None
        except (OSError, zlib.error) as error:
            raise DataError(f"{path.name} is a damaged gzip file ({error}).") from None
    return raw


def _parse_parquet(raw: bytes, path: Path) -> tuple[list[str], list[Any]]:
    import pyarrow.parquet as pq  # most drops are CSV; 40 ms

    try:
        table = pq.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path.name} is a damaged Parquet file ({_first_line(error)}).") from None
    return _unique(list(table.column_names)), list(table.columns)


class _Text:
    """A delimited text file as bytes in UTF-8, its header apart."""

    def __init__(self, path: Path, raw: bytes, layout: Layout) -> None:
        self.path = path
        self.delimiter = DELIMITERS[layout.delimiter]
        if layout.encoding != "utf-8":
            try:
                raw = raw.decode(layout.encoding).encode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path.name} is not {layout.encoding} text: {error.reason}.") from None
        raw = raw.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
        if b"\n" not in raw:
            raw = raw.replace(b"\r", b"\n")
        self.quoted = b'"' in raw
        if not raw.strip():
            raise DataError(f"{path.name} is empty.")
        self.raw = raw
        first, lines = self._first_record()
        self.header_lines = lines if layout.header else 0
        if layout.header:
            self.names = _unique([name.strip() or f"column_{i}" for i, name in enumerate(first)])
            start = 0
            for _ in range(lines):
                start = raw.find(b"\n", start) + 1 or len(raw)
            self.body = memoryview(raw)[start:]
        else:
            self.names = [f"column_{i}" for i in range(len(first))]
            self.body = memoryview(raw)
        if not bytes(self.body[:4096]).strip() and not bytes(self.body).strip():
            raise DataError(f"{path.name} has a header and no rows.")

    def _first_record(self) -> tuple[list[str], int]:
        reader = csv.reader(
            io.StringIO(self.raw[:1_000_000].decode(errors="replace"), newline=""), delimiter=self.delimiter
        )
        try:
            return next(reader), reader.line_num
        except (csv.Error, StopIteration) as error:
            raise DataError(f"{self.path.name} has an unreadable first line ({error}).") from None

    def parse(self, texts: set[int]) -> list[Any]:
        """An Arrow column per column; those in `texts` as they stand, the others as numbers where they are numbers."""
        labels = [str(i) for i in range(len(self.names))]
        parsing = pa_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=self.quoted)
        reading = pa_csv.ReadOptions(column_names=labels)
        types = {label: pa.string() for i, label in enumerate(labels) if i in texts}
        converting = {"null_values": _NULLS, "strings_can_be_null": True, "quoted_strings_can_be_null": True}
        try:
            # What the first block looks like; a later block that differs is met below.
            with pa_csv.open_csv(
                pa.BufferReader(pa.py_buffer(self.body)),
                read_options=reading,
                parse_options=parsing,
                convert_options=pa_csv.ConvertOptions(column_types=types, **converting),
            ) as head:
                schema = head.schema
            for field in schema:
                numeric = (
                    pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_null(field.type)
                )
                types[field.name] = pa.float64() if numeric and field.name not in types else pa.string()
            while True:
                try:
                    table = pa_csv.read_csv(
                        pa.BufferReader(pa.py_buffer(self.body)),
                        read_options=reading,
                        parse_options=parsing,
                        convert_options=pa_csv.ConvertOptions(column_types=types, **converting),
                    )
                    return list(table.columns)
                except pa.ArrowInvalid as error:
                    failed = re.search(r"column #(\d+): CSV conversion error to double", str(error))
                    if not failed:
                        raise
                    types[str(int(failed.group(1)))] = pa.string()
        except pa.ArrowInvalid as error:
            raise self._explain(error) from None

    def _explain(self, error: Exception) -> DataError:
        name = self.path.name
        if "UTF8" in str(error):
            return DataError(f"{name} holds bytes that are not UTF-8 text.")
        width = len(self.names)
        reader = csv.reader(
            io.StringIO(self.raw.decode(errors="replace"), newline=""), delimiter=self.delimiter, strict=True
        )
        line = 0
        try:
            for record in reader:
                if record and len(record) != width:
                    return DataError(f"Line {line + 1} of {name} has {len(record)} columns where {width} are expected.")
                line = reader.line_num
        except csv.Error as problem:
            what = (
                "opens a quote that never closes"
                if "unexpected end" in str(problem)
                else f"can't be parsed ({problem})"
            )
            return DataError(f"Line {line + 1} of {name} {what}.")
        return DataError(f"{name} can't be parsed ({_first_line(error)}).")

    def line_of(self, row: int) -> int:
        """The line, from 1, on which a row (from 0, header not counted) begins."""
        reader = csv.reader(io.StringIO(self.raw.decode(errors="replace"), newline=""), delimiter=self.delimiter)
        wanted = row + (1 if self.header_lines else 0)
        line = 0
        for record in reader:
            if record:
                if wanted == 0:
                    break
                wanted -= 1
            line = reader.line_num
        return line + 1


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


def _column(array: Any, *, as_text: bool, decimal_comma: bool = False) -> Column:
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.cast(kind.value_type)
        kind = array.type
    if not as_text and (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    ):
        return _numbers(array)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        try:
            array = array.cast(pa.string())
        except pa.ArrowException:
            raise DataError(f"A column has the type {kind}, which can't be trained on.") from None
    # Trimming and looking for missing values is done once per different text, not once per row.
    encoded = pa.chunked_array(array.chunks, type=array.type).dictionary_encode().combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.chunk(0) if encoded.num_chunks else pa.array([], pa.string()).dictionary_encode()
    trimmed = pc.utf8_trim_whitespace(encoded.dictionary)
    missing = pc.is_in(pc.utf8_lower(trimmed), value_set=pa.array(sorted(MISSING_TOKENS)))
    kept = pc.if_else(missing, pa.scalar(None, trimmed.type), trimmed).dictionary_encode()
    table = np.append(kept.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), -1)
    codes = table[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)]
    if not as_text:
        texts = kept.dictionary
        if decimal_comma:  # where commas are decimal points, spreadsheets separate fields by semicolons
            texts = pc.replace_substring_regex(texts, _DECIMAL_COMMA, r"\1.\2")
        if len(texts) == 0 or pc.all(pc.match_substring_regex(texts, _NUMBER)).as_py():
            values = np.append(texts.cast(pa.float64()).to_numpy(zero_copy_only=False), np.nan)
            return _finite(values[codes])
    return Texts(codes, kept.dictionary.to_pylist())


def _numbers(array: Any) -> Numbers:
    return _finite(array.cast(pa.float64()).to_numpy().astype(np.float64))


def _finite(values: NDArray[np.float64]) -> Numbers:
    if not np.isfinite(values.sum()):
        values = np.where(np.isfinite(values), values, np.nan)
    return Numbers(values)


def _refuse_stray_text(column: Texts, must_be_numeric: bool, name: str, path: Path, source: _Text | None) -> None:
    """Raises DataError for text among numbers: where only numbers may be, or where nearly everything is a number."""
    texts = pa.array(column.categories, pa.string())
    numeric = pc.match_substring_regex(texts, _NUMBER).to_numpy(zero_copy_only=False).astype(bool)
    known = column.codes >= 0
    stray = np.append(~numeric, False)[column.codes] & known
    share = 1 - stray.sum() / max(1, known.sum())
    if not must_be_numeric and (share < _LOOKS_NUMERIC or numeric.sum() <= _MANY_NUMBERS):
        return
    row = int(np.flatnonzero(stray)[0])
    where = f"Line {source.line_of(row)}" if source else f"Row {row + 1}"
    text = column.categories[column.codes[row]][:40]
    raise DataError(f"{where} of {path.name} has the text {text!r} in the numeric column {name!r}.")


def _take(column: Column, rows: NDArray[np.int64]) -> Column:
    if isinstance(column, Numbers):
        return Numbers(column.values[rows])
    return Texts(column.codes[rows], column.categories)


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
    """Takes the shares out of the rows, of each class alike; what is left is train. The seed decides which rows."""
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    groups = [shuffled[rows.label[shuffled] == of] for of in np.unique(rows.label)] if stratify else [shuffled]
    taken: dict[str, list[NDArray[np.int64]]] = {split: [] for split in ["train", *shares]}
    for group in groups:
        left = group
        # Test first: a class too small for all three splits is wanted where models are compared.
        for split in reversed(list(shares)):
            # One row of each class at least, so that every class is judged, but never the last one left for training.
            count = min(max(1, round(len(group) * shares[split])), len(left) - 1)
            taken[split].append(left[:count])
            left = left[count:]
        taken["train"].append(left)
    parts = {}
    for split, chosen in taken.items():
        indices = np.sort(np.concatenate(chosen))
        parts[split] = Rows([_take(column, indices) for column in rows.columns], rows.label[indices])
    return parts
