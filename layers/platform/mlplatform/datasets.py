"""The planner of a drop: which files, columns, label and task, or one sentence on why nothing can be learnt from it.

Pure: it sees the beginnings of the files, not the files. What only the whole of a large file can show (a class with a
single row, a ragged row far down) is left to the training job, which fails with a sentence of the same kind.
"""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter

from mlplatform.cells import MISSING, as_number, is_missing, short
from mlplatform.delimited import SAMPLE_BYTES, Rows, Text, decode, parse, sniff
from mlplatform.errors import DataRejected
from mlplatform.facts import Drop, JobSpec, Sample, StoredObject, Table, Task
from mlplatform.job_spec import parse_job_spec
from mlplatform.names import DATASET_PATTERN, DATASETS_PREFIX, JOB_SPEC_FILE
from mlplatform.parquet import Footer, Physical, is_parquet, read_footer
from mlplatform.records import dataclass
from mlplatform.stray_text import assert_no_stray_text

__all__ = ["MINIMUM_ROWS", "MISSING", "SAMPLE_BYTES", "data_files", "plan_dataset"]

MINIMUM_ROWS = 20
LABEL_NAMES = ("label", "target", "class", "y")
_ROLES = ("train", "validation", "test")
_HEADER_ROWS = 1000  # how many rows below the first are compared with it
_SHOWN = 5


def data_files(objects: Iterable[StoredObject]) -> tuple[StoredObject, ...]:
    """What of a drop is data: not job.json, not the folders that consoles make, not hidden files."""
    return tuple(
        stored for stored in objects if stored.file_name not in ("", JOB_SPEC_FILE) and stored.file_name[0] != "."
    )


def plan_dataset(drop: Drop, longest_name: int) -> tuple[Table, JobSpec]:
    """How to read a drop, and what its job.json wishes.

    `longest_name` is names.longest_dataset of the stack. `drop.samples` holds the first SAMPLE_BYTES (or more) of each
    of data_files. Raises DataRejected.
    """
    _assert_name(drop.dataset, longest_name)
    spec = parse_job_spec(drop.job_json)
    keys = _in_order(drop)
    samples = {sample.key: sample for sample in drop.samples}
    if any(is_parquet(samples[key].content) for key in keys):
        sizes = {stored.key: stored.size_bytes for stored in drop.objects}
        return _plan_parquet(keys, samples, sizes, spec), spec
    texts = [decode(_file_name(key), samples[key].content, samples[key].complete) for key in keys]
    encoding = _common_encoding(texts)
    delimiter = sniff(texts[0])
    files = [parse(text, delimiter) for text in texts]
    main = files[0]
    _assert_table(main)
    header = _has_header(main, spec.label)
    columns = _columns(main, header)
    for other in files[1:]:
        _assert_same_columns(main, other, header)
    label, label_sentence = _find_label(main.name, columns, header, spec.label, _empty_end(main) if header else 0)
    if header:
        _assert_named_once(f"{main.name}, line {main.line_of(0)}", main.rows[0], label)
    labelled = [_Labelled(rows, header, label, columns[label]) for rows in files]
    for part in labelled:
        part.assert_rows(MINIMUM_ROWS if part.rows is main else 1)
    task, task_sentence = _task(labelled[0], spec.task)
    for part in labelled[1:]:
        part.assert_fits(labelled[0], task)
    assert_no_stray_text(files, columns, label, header)
    sentences = [
        label_sentence,
        task_sentence,
        "" if task is Task.REGRESSION else _alike(labelled[0].values.counts),
        _layout_sentence(main, header),
        _comma_sentence(main, header, columns, set() if task is Task.REGRESSION else {label}),
        _renamed(main.rows[0], columns) if header else "",
        *(text.remark for text in texts),
        *(part.left_out() for part in labelled),
    ]
    table = Table(
        files=keys,
        columns=columns,
        label_position=label,
        task=task,
        header=header,
        delimiter=delimiter,
        encoding=encoding,
        explanation=" ".join(filter(None, sentences)),
    )
    return table, spec


def _assert_name(dataset: str, longest: int) -> None:
    if not DATASET_PATTERN.fullmatch(dataset):
        raise DataRejected(
            f'The dataset name "{dataset}" cannot be used: it may have 1 to 32 lower-case letters, digits and single '
            f"hyphens between them; upload the files under another name."
        )
    if len(dataset) > longest:
        raise DataRejected(
            f'The dataset name "{dataset}" has {len(dataset)} characters, and only {longest} fit into the names that '
            f"SageMaker allows beside this stack's name; upload the files under a shorter name."
        )


def _in_order(drop: Drop) -> tuple[str, ...]:
    """The keys of the data files: train, validation, test; or the one file."""
    stored = data_files(drop.objects)
    folder = f"{DATASETS_PREFIX}{drop.dataset}/"
    for file in stored:
        if "/" in file.key.removeprefix(folder):
            raise DataRejected(
                f"{file.key.removeprefix(folder)} lies in a folder of its own; put the files directly under {folder}."
            )
    if not stored:
        raise DataRejected(f"{folder} holds no data file; drop one .csv, .csv.gz or .parquet file there.")
    if len(stored) == 1:
        return (stored[0].key,)
    roles: dict[str, StoredObject] = {}
    names = ", ".join(sorted(file.file_name for file in stored))
    for file in sorted(stored, key=lambda file: file.key):
        role = file.file_name.split(".")[0]
        if role in roles:
            raise DataRejected(
                f"{roles[role].file_name} and {file.file_name} both hold the {role} rows; remove one of them."
            )
        roles[role] = file
    if "train" not in roles:
        raise DataRejected(
            f"{folder} holds {len(stored)} data files ({names}) and none is named train.*; keep one file (mlp drop "
            f"FILE --replace removes the others), or name them train.csv, validation.csv and test.csv."
        )
    for role, file in roles.items():
        if role not in _ROLES:
            raise DataRejected(
                f"{file.file_name} lies beside {roles['train'].file_name}, where only validation.* and test.* belong; "
                f"rename it, or drop what belongs to the dataset with mlp drop ... --replace, which removes the rest."
            )
    return tuple(roles[role].key for role in _ROLES if role in roles)


def _file_name(key: str) -> str:
    return key.rsplit("/", 1)[-1]


def _common_encoding(texts: Sequence[Text]) -> str:
    """One encoding for all files; plain ASCII goes with UTF-8 and with Latin-1."""
    main = next((text for text in texts if not text.ascii_only), texts[0])
    for text in texts:
        alike = text.encoding == main.encoding or (text.ascii_only and main.encoding == "latin-1")
        if not alike:
            raise DataRejected(
                f"{text.name} is {_encoding_name(text)} text and {main.name} is {_encoding_name(main)}; save all files "
                f"of a dataset as UTF-8."
            )
    return main.encoding


def _encoding_name(text: Text) -> str:
    return {"utf-8": "UTF-8", "utf-16": "UTF-16", "latin-1": "Latin-1"}[text.encoding]


def _assert_table(main: Rows) -> None:
    if not main.rows:
        raise DataRejected(f"{main.name} has no complete row in its first {SAMPLE_BYTES // 2**20} MiB; split its rows.")
    if len(main.rows[0]) < 2:
        raise DataRejected(
            f"{main.name} has a single column (no comma, semicolon, tab or pipe separates its fields evenly); it needs "
            f"a label and at least one other column."
        )
    _assert_no_title(main)
    if len(main.rows) == 1 and main.complete:
        numbers = any(as_number(cell, main.delimiter) is not None for cell in main.rows[0])
        what = "a single row" if numbers else "only a header line"
        raise DataRejected(f"{main.name} holds {what}; at least {MINIMUM_ROWS} rows with a label are needed.")


def _assert_no_title(main: Rows) -> None:
    """What spreadsheets put above a table: a line of one text, the other fields empty, over lines that are full."""
    first, width = [cell.strip() for cell in main.rows[0]], len(main.rows[0])
    below = main.rows[1:_HEADER_ROWS]
    if width < 3 or sum(map(bool, first)) != 1 or not any(all(cell.strip() for cell in row) for row in below):
        return
    place = next(at for at, cell in enumerate(first) if cell)
    if as_number(first[place], main.delimiter) is None and all(row[place].strip() != first[place] for row in below):
        raise DataRejected(
            f'{main.name}, line {main.line_of(0)} holds "{short(first[place])}" alone, which is a title and no '
            "header; remove the lines above the one that names the columns."
        )


def _has_header(main: Rows, wished: str | int | None) -> bool:
    """Whether the first row names the columns.

    It does if it holds what job.json calls the label, or text where most of the columns below hold numbers. Among
    columns of text it does if it says label, target, class or y, or if none of its values ever comes up again although
    the columns repeat theirs.
    """
    first = [cell.strip() for cell in main.rows[0]]
    below = [[cell.strip() for cell in column] for column in zip(*main.rows[1 : _HEADER_ROWS + 1], strict=True)]
    if isinstance(wished, str) and wished in first:
        return True
    if not below:
        return not any(as_number(name, main.delimiter) is not None for name in first)
    counted = [str(position) for position in range(len(first))]
    # What pandas writes for a table without column names: 0, 1, 2, ..., after an empty cell if it writes its index too.
    if len(first) > 2 and (first == counted or first == ["", *counted[:-1]]):
        return True
    votes = 0
    for name, column in zip(first, below, strict=True):
        if _mostly_numbers(column, main.delimiter) and not is_missing(name):
            votes += 1 if as_number(name, main.delimiter) is None else -1
    if votes:
        return votes > 0
    if len(set(first)) < len(first) or "" in first:
        return False
    if any(name in column for name, column in zip(first, below, strict=True)):
        return False
    if any(name.lower() in LABEL_NAMES for name in first):
        return True
    if any(len(set(column)) <= len(column) / 3 for column in below):
        return True
    return all(re.fullmatch(r"[^\W\d][\w .:/()%-]{0,63}", name) for name in first)


def _mostly_numbers(column: Sequence[str], delimiter: str) -> bool:
    values = [value for value in set(column) if not is_missing(value)]
    numbers = sum(as_number(value, delimiter) is not None for value in values)
    return bool(values) and numbers >= 0.9 * len(values)


def _columns(main: Rows, header: bool) -> tuple[str, ...]:
    if not header:
        return tuple(f"column_{position}" for position in range(len(main.rows[0])))
    return _told_apart(main.rows[0])


def _told_apart(cells: Sequence[str]) -> tuple[str, ...]:
    """Column names, none of them empty or twice; the training job makes the same ones."""
    names: list[str] = []
    for position, cell in enumerate(cells):
        name = plain = cell.strip() or f"column_{position}"
        again = 2
        while name in names:
            name, again = f"{plain}_{again}", again + 1
        names.append(name)
    return tuple(names)


def _renamed(cells: Sequence[str], columns: Sequence[str]) -> str:
    """What to say of columns whose name another one has already; without a name they are called by their position."""
    said = [
        f'field {position + 1}, "{short(cell)}", is called "{short(name)}"'
        for position, (cell, name) in enumerate(zip((cell.strip() for cell in cells), columns, strict=True))
        if cell and cell != name
    ]
    if not said:
        return ""
    more = f", and {len(said) - _SHOWN} more" if len(said) > _SHOWN else ""
    return f"Columns of one name are told apart: {', '.join(said[:_SHOWN])}{more}."


def _assert_same_columns(main: Rows, other: Rows, header: bool) -> None:
    if not other.rows:
        raise DataRejected(f"{other.name} has no row; leave the file out, or fill it.")
    expected, found = len(main.rows[0]), len(other.rows[0])
    if expected != found:
        raise DataRejected(
            f"{other.name} has {found} column{'s' * (found != 1)} and {main.name} has {expected} (separated by "
            f"{main.delimiter}); all files of a dataset need the same columns."
        )
    if not header:
        if _has_header(other, None) and len(other.rows) > 1:
            raise DataRejected(
                f"{other.name} begins with a header line and {main.name} does not; give all files one, or none."
            )
        return
    for position, (name, same) in enumerate(zip(main.rows[0], other.rows[0], strict=True)):
        if name.strip() != same.strip():
            raise DataRejected(
                f'{other.name} has "{short(same)}" in its first line where {main.name} has "{short(name)}" (field '
                f"{position + 1}); all files of a dataset need the same header line."
            )


def _find_label(
    name: str, columns: Sequence[str], header: bool, wished: str | int | None, empty_end: int = 0
) -> tuple[int, str]:
    """The label's position, and a sentence on why it is that one. The `empty_end` last columns hold nothing."""
    if isinstance(wished, int):
        if not -len(columns) <= wished < len(columns):
            raise DataRejected(
                f"{JOB_SPEC_FILE} says that the label is column {wished}, and {name} has {len(columns)} columns; count "
                f"from 0 to {len(columns) - 1}, or from -1 at the end."
            )
        position = wished % len(columns)
        return position, f"The label is {_column(columns, header, position)}, because {JOB_SPEC_FILE} says so."
    if isinstance(wished, str):
        if not header:
            raise DataRejected(
                f'{JOB_SPEC_FILE} says that the label is "{wished}", and {name} has no header line with that name; '
                f"give the label's position, counted from 0, or add a header line."
            )
        if wished not in columns:
            raise DataRejected(
                f'{JOB_SPEC_FILE} says that the label is "{wished}", and {name} has no such column; '
                f"{_suggestion(wished, columns)}."
            )
        position = columns.index(wished)
        return position, f"The label is {_column(columns, header, position)}, because {JOB_SPEC_FILE} names it."
    known = ", ".join(LABEL_NAMES[:-1]) + f" or {LABEL_NAMES[-1]}"
    if not header:
        return (
            0,
            f"The label is {_column(columns, header, 0)}, because there is no header line (SageMaker's convention).",
        )
    for usual in LABEL_NAMES:
        found = [position for position, column in enumerate(columns) if column.lower() == usual]
        if len({columns[position] for position in found}) > 1:
            raise DataRejected(
                f'{name} has {len(found)} columns that could be the label, "{columns[found[0]]}" and '
                f'"{columns[found[1]]}"; name one of them in {JOB_SPEC_FILE}, or rename the other.'
            )
        if found:
            return found[0], f"The label is {_column(columns, header, found[0])}, because of its name."
    last = len(columns) - 1 - empty_end
    return last, f"The label is {_column(columns, header, last)}, the last, because no column is called {known}."


def _empty_end(main: Rows) -> int:
    """How many columns at the end have neither a name nor a value, as where each line of a file ends in a delimiter."""
    width = len(main.rows[0])
    filled = max((at for row in main.rows for at, cell in enumerate(row, 1) if cell.strip()), default=width)
    return min(width - filled, width - 1)


def _assert_named_once(where: str, cells: Sequence[str], label: int) -> None:
    names = [cell.strip() for cell in cells]
    if names[label] and names.count(names[label]) > 1:
        first, second = [position + 1 for position, name in enumerate(names) if name == names[label]][:2]
        raise DataRejected(
            f'{where} names the label "{short(names[label])}" twice, in fields {first} and {second}; rename or remove '
            f"the one that is not the label."
        )


def _column(columns: Sequence[str], header: bool, position: int) -> str:
    return f'the column "{short(columns[position])}"' if header else f"column {position} (counted from 0)"


def _suggestion(wished: str, columns: Sequence[str]) -> str:
    lower = {column.lower(): column for column in columns}
    close = difflib.get_close_matches(wished.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f'perhaps "{short(lower[close[0]])}" is meant'
    shown = ", ".join(short(column) for column in columns[:20])
    return f"it has {shown}{', ...' if len(columns) > 20 else ''}"


@dataclass(frozen=True)
class _Values:
    """The label's values, stripped, and how many rows have each."""

    counts: Mapping[str, int]
    missing: int

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


class _Labelled:
    """One file, seen as its label column."""

    def __init__(self, rows: Rows, header: bool, position: int, column: str) -> None:
        self.rows = rows
        self.name = rows.name
        self.position = position
        self.first = 1 if header else 0
        self.title = f'label column "{short(column)}"' if header else f"label column {position}"
        counts: Counter[str] = Counter()
        missing = 0
        for value, times in Counter(map(itemgetter(position), rows.rows[self.first :])).items():
            if is_missing(value):
                missing += times
            else:
                counts[value.strip()] += times
        self.values = _Values(counts, missing)
        self.numbers = {value: as_number(value, rows.delimiter) for value in counts}
        self.part = "" if rows.complete else f" in its first {len(rows.rows) - self.first:,} rows"

    def assert_rows(self, least: int) -> None:
        """That so many rows have a label, as far as the sample shows. Raises DataRejected."""
        usable, missing = self.values.rows, self.values.missing
        if usable and (usable >= least or not self.rows.complete):
            return
        without = f" ({missing} more {'has' if missing == 1 else 'have'} none)" if missing else ""
        rows = f"{usable} row{'s' * (usable != 1)}" if usable else "no row"
        raise DataRejected(
            f"{self.name} has {rows} with a value in {self.title}{self.part}{without}; at least {least} "
            f"{'is' if least == 1 else 'are'} needed, so add rows or take another label in {JOB_SPEC_FILE}."
        )

    def left_out(self) -> str:
        missing = self.values.missing
        if not missing:
            return ""
        rows = f"{missing:,} row{'s' * (missing != 1)} of {self.name}"
        counted = f" (counted{self.part})" if self.part else ""
        return f"{rows} without a label {'is' if missing == 1 else 'are'} left out{counted}."

    def line_of(self, value: str) -> int:
        """The line of the first row with that label."""
        return next(
            self.rows.line_of(row)
            for row in range(self.first, len(self.rows.rows))
            if self.rows.rows[row][self.position].strip() == value
        )

    def first_text(self) -> str | None:
        """The first label that is not a number, if there is one."""
        return next((value for value, number in self.numbers.items() if number is None), None)

    def assert_fits(self, train: _Labelled, task: Task) -> None:
        """That a validation or test file can be scored by what the training file teaches. Raises DataRejected."""
        if task is Task.REGRESSION:
            self.assert_numbers()
            return
        if train.rows.complete:
            for value in self.values.counts:
                if value not in train.values.counts:
                    raise DataRejected(
                        f'{self.name}, line {self.line_of(value)} has the class "{short(value)}", which '
                        f"{train.name} never has; move some of its rows there, or leave them out."
                    )
        if self.name.startswith("test.") and self.rows.complete and len(self.values.counts) == 1:
            only = short(next(iter(self.values.counts)))
            raise DataRejected(
                f'{self.name} has the class "{only}" only, so nothing can be measured '
                f"on it; add rows of the other classes, or leave the file out."
            )

    def assert_numbers(self) -> None:
        """That every label can be predicted as a number. Raises DataRejected, which names the first that can't."""
        text = self.first_text()
        if text is None:
            return
        needed = f"regression needs numbers; correct it, or set another task in {JOB_SPEC_FILE}."
        unreadable = sum(times for value, times in self.values.counts.items() if self._is_text(value))
        if 2 * unreadable <= self.values.rows:
            raise DataRejected(
                f'{self.name}, line {self.line_of(text)} has "{short(text)}" in {self.title}, and {needed}'
            )
        shown = ", ".join(f'line {line} has "{short(text)}"' for line, text in islice(self._texts(), 3))
        raise DataRejected(
            f"{self.name} has texts in {unreadable:,} of the {self.values.rows:,} values of {self.title}{self.part} "
            f"({shown}), and {needed}"
        )

    def _is_text(self, value: str) -> bool:
        return as_number(value, self.rows.delimiter) is None

    def _texts(self) -> Iterator[tuple[int, str]]:
        """The lines and labels of the rows whose label is no number."""
        for row in range(self.first, len(self.rows.rows)):
            value = self.rows.rows[row][self.position].strip()
            if not is_missing(value) and self._is_text(value):
                yield self.rows.line_of(row), value


def _task(train: _Labelled, wished: Task | None) -> tuple[Task, str]:
    """The task, and a sentence on why it is that one."""
    values = train.values
    distinct = len(values.counts)
    because = f"because {JOB_SPEC_FILE} says so"
    if wished is Task.REGRESSION:
        train.assert_numbers()
        if distinct < 2 and train.rows.complete:
            raise DataRejected(_one_value(train, "one value"))
        return wished, f"The task is regression, {because}."
    if distinct < 2 and train.rows.complete:
        raise DataRejected(_one_value(train, "one class"))
    if wished is Task.BINARY and (distinct > 2):
        raise DataRejected(
            f"{train.name} has {distinct:,} different values in {train.title}{train.part} ({_listed(train)}), and "
            f"{JOB_SPEC_FILE} asks for the task binary; ask for multiclass, or leave the task out."
        )
    if wished is None and distinct > 2 and None not in train.numbers.values() and _measured(train, distinct):
        numbers = f"{distinct:,} different numbers in {values.rows:,} rows"
        return Task.REGRESSION, f"The task is regression, because the label has {numbers}."
    if None in train.numbers.values() and distinct > max(20, 0.5 * values.rows):
        raise DataRejected(_not_a_label(train, distinct))
    if train.rows.complete:
        _assert_two_each(train)
    if wished is not None:
        return wished, f"The task is {wished}, {because}."
    task = Task.BINARY if distinct == 2 else Task.MULTICLASS
    listed = f"{distinct:,} different value{'s' * (distinct != 1)}{train.part} ({_listed(train)})"
    return task, f"The task is {task}, because the label has {listed}."


def _measured(train: _Labelled, distinct: int) -> bool:
    """Whether numeric labels are measurements rather than classes.

    They are with any fraction among them, with more than 20 different ones that are more than 5 % of the rows, or, in
    small tables, with more than 10 that are more than half of the rows.
    """
    if any(number is not None and number != math.floor(number) for number in train.numbers.values()):
        return True
    return _many(distinct, train.values.rows)


def _many(distinct: int, rows: int) -> bool:
    return (distinct > 20 and distinct > 0.05 * rows) or (distinct > 10 and distinct > 0.5 * rows)


def _assert_two_each(train: _Labelled) -> None:
    for value, times in train.values.counts.items():
        if times < 2:
            numeric = None not in train.numbers.values()
            otherwise = f', or set "task": "regression" in {JOB_SPEC_FILE}' if numeric else ""
            raise DataRejected(
                f'{train.name} has a single row of the class "{short(value)}" in {train.title} (line '
                f"{train.line_of(value)}); each class needs at least 2, so add rows or remove it{otherwise}."
            )


def _one_value(train: _Labelled, what: str) -> str:
    value = short(next(iter(train.values.counts)))
    return (
        f'{train.name} has {what} only: every row has "{value}" in {train.title}; add rows with another, or name '
        f"another label in {JOB_SPEC_FILE}."
    )


def _not_a_label(train: _Labelled, distinct: int) -> str:
    numeric = sum(number is not None for number in train.numbers.values())
    text = train.first_text()
    if text is not None and numeric >= 0.9 * distinct:
        return (
            f'{train.name}, line {train.line_of(text)} has "{short(text)}" in {train.title}, which otherwise holds '
            f"numbers; correct it, or leave it blank so that its row is left out."
        )
    return _texts(train.name, train.title, distinct, train.values.rows)


def _texts(name: str, title: str, distinct: int, rows: int) -> str:
    return (
        f"{name} has {distinct:,} different texts in the {rows:,} rows of {title}, which makes it a name or a note and "
        f"not a label; name another label in {JOB_SPEC_FILE}."
    )


def _plan_parquet(
    keys: tuple[str, ...], samples: Mapping[str, Sample], sizes: Mapping[str, int], spec: JobSpec
) -> Table:
    """The same decisions from the footers alone, which hold names, types and counts, and not the values."""
    footers: dict[str, Footer] = {}
    for key in keys:
        name, sample = _file_name(key), samples[key]
        if not is_parquet(sample.content):
            raise DataRejected(
                f"{name} is no Parquet file and another file is; drop all files of a dataset in one format."
            )
        tail = sample.content if sample.complete else sample.tail
        footers[name] = read_footer(name, sample.content, tail, sizes[key] if not sample.complete else len(tail))
    (main, footer), *others = footers.items()
    if len(footer.columns) < 2:
        raise DataRejected(f"{main} has fewer than 2 columns; it needs a label and at least one other column.")
    for name, other in others:
        if other.columns != footer.columns:
            raise DataRejected(
                f"{name} does not have the columns of {main}; all files of a dataset need the same columns."
            )
    columns = _told_apart(footer.columns)
    label, label_sentence = _find_label(main, columns, True, spec.label)
    _assert_named_once(main, footer.columns, label)
    title = f'label column "{short(columns[label])}"'
    for name, counted in footers.items():
        usable, least = counted.rows - counted.missing[label], MINIMUM_ROWS if name == main else 1
        if usable < least:
            raise DataRejected(f"{name} has {usable} rows with a value in {title}; at least {least} are needed.")
    task, task_sentence = _parquet_task(main, title, footer, label, spec.task)
    named = "The columns are as the Parquet file names them."
    explanation = " ".join(filter(None, [label_sentence, task_sentence, named, _renamed(footer.columns, columns)]))
    return Table(keys, columns, label, task, header=True, delimiter="comma", encoding="utf-8", explanation=explanation)


def _parquet_task(main: str, title: str, footer: Footer, label: int, wished: Task | None) -> tuple[Task, str]:
    kind, distinct = footer.types[label], footer.distinct[label]
    rows = footer.group_rows  # what the count of different values refers to
    if wished is Task.REGRESSION and kind is Physical.BYTE_ARRAY:
        raise DataRejected(
            f"{main} has text in {title}, and regression needs numbers; set another task in {JOB_SPEC_FILE}, or store "
            f"the column as numbers."
        )
    if wished is not None:
        return wished, f"The task is {wished}, because {JOB_SPEC_FILE} says so."
    if kind is Physical.BOOLEAN:
        return Task.BINARY, "The task is binary, because the label is true or false."
    if distinct is None and kind in (Physical.FLOAT, Physical.DOUBLE):
        return Task.REGRESSION, "The task is regression, because the label is stored as fractional numbers."
    if distinct is None:
        raise DataRejected(
            f"{main} does not tell how many different values {title} has; say in {JOB_SPEC_FILE} whether the task is "
            f"binary, multiclass or regression."
        )
    if distinct < 2:
        raise DataRejected(f"{main} has one class only in {title}; add rows with another, or name another label.")
    if kind is Physical.BYTE_ARRAY and distinct > max(20, 0.5 * rows):
        raise DataRejected(_texts(main, title, distinct, rows))
    if kind is not Physical.BYTE_ARRAY and distinct > 2 and _many(distinct, rows):
        return Task.REGRESSION, f"The task is regression, because the label has {distinct:,} different numbers or more."
    task = Task.BINARY if distinct == 2 else Task.MULTICLASS
    return task, f"The task is {task}, because the label has {distinct:,} different values."


def _alike(classes: Collection[str]) -> str:
    """That two classes may be meant to be one; empty where all differ by more than their letters' case."""
    folded: dict[str, str] = {}
    for one in sorted(classes):
        other = folded.setdefault(one.casefold(), one)
        if other != one:
            return (
                f'The classes "{short(other)}" and "{short(one)}" differ in the case of their letters alone; if they '
                "are the same, write them alike."
            )
    return ""


def _layout_sentence(main: Rows, header: bool) -> str:
    separated = f"fields are separated by {main.delimiter}s"
    return f"The first line is the header, and {separated}." if header else f"No header line, and {separated}."


_ONE_GROUP = re.compile(r"[1-9]\d{0,2},\d{3}")
_CURRENCY = re.compile(r"[^\d.,\s()%'\u2019+\-\u2212]")  # what a number that is written with more than digits has else


def _comma_sentence(main: Rows, header: bool, columns: Sequence[str], texts: Collection[int]) -> str:
    """How the training job will read a column of which each comma has three digits behind it, which leaves open whether
    it parts thousands (model_code/dataset.py, _spelling); empty where there is none. Those of `texts` are no numbers.

    With semicolons between the fields a comma is decimal, but in money, and beside numbers with a decimal point.
    """
    rows = main.rows[header:]
    for position in range(len(columns)):
        if position in texts or not any("," in row[position] for row in rows):
            continue
        values = {cell for row in rows if not is_missing(cell := row[position].strip())}
        digits = {re.sub(r"[^\d.,]", "", cell) for cell in values}
        commas = [cell for cell in values if "," in cell]
        if any("." in cell for cell in digits) or not all(_ONE_GROUP.fullmatch(c) for c in digits if "," in c):
            continue
        if not commas or any(as_number(cell, main.delimiter) is None for cell in values):
            continue
        example = min(commas, key=lambda cell: (len(cell), cell))
        plain = re.sub(r"[^\d,]", "", example)
        if any(_CURRENCY.search(cell) for cell in commas):
            why = "it is money"
        elif main.delimiter != "semicolon":
            why = "nothing says that its commas are decimal"
        elif any(_has_points(rows, other) for other in range(len(columns))):
            why = "other columns have decimal points"
        else:
            return (
                f"In {columns[position]!r}, {short(example)!r} is read as {plain.replace(',', '.')}, because "
                "semicolons separate the fields; if its commas part thousands, write it without them."
            )
        return (
            f"In {columns[position]!r}, {short(example)!r} is read as {plain.replace(',', '')}, because {why}; if its "
            "commas are decimal, write points in their place."
        )
    return ""


def _has_points(rows: Sequence[Sequence[str]], position: int) -> bool:
    """Whether a column's values are plain numbers, and any has a decimal point."""
    found = False
    for row in rows:
        if is_missing(row[position]):
            continue
        try:
            found = found or float(row[position]) % 1 != 0
        except ValueError:
            return False
    return found


def _listed(train: _Labelled) -> str:
    shown = [short(value) for value in sorted(train.values.counts)[:_SHOWN]]
    return ", ".join(shown) + (", ..." if len(train.values.counts) > _SHOWN else "")
