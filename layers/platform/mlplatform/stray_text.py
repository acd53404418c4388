"""Text in a column of numbers, for which the training job would fail: found before that is paid for. Pure.

The rule is the training job's (model_code/dataset.py, _refuse_stray_text), which sees whole files, reads numbers in the
spelling of their column, and takes text for a category where it is not rare. So this one speaks only where what that
comes to is certain: of files that are seen whole, and of columns whose other values are read alike in any spelling.
What it lets pass, such as text among amounts of money, the job finds.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import filterfalse
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from mlplatform.cells import MISSING, as_number, is_missing, short
from mlplatform.errors import DataRejected

if TYPE_CHECKING:
    from mlplatform.delimited import Rows

# The same as the training job's (model_code/dataset.py and numerals.py), which a test sees to.
LOOKS_NUMERIC = 0.99
MANY_NUMBERS = 20
DASHES = frozenset({"-", "--", "---", "\u2013", "\u2014", "."})
_MISSING_FORMS = {form for token in MISSING for form in (token, token.upper(), token.capitalize(), "NaN")}
_PLAIN = re.compile(r"\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*", re.ASCII)
_INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
_ONE_COMMA = re.compile(r"[+-]?\d+,\d*", re.ASCII)
# A number and what it counts, which the training job may read as a number.
_WITH_UNIT = re.compile(
    r"[-+\u2212]?\d[\d.,'\u2019 \u00a0\u2009\u202f]*(?P<unit>[^\W\d_][^\s]{0,11}|[\u00b0\u00b5\u03a9][^\s]{0,11})"
)


class _Column(NamedTuple):
    """A column of one file."""

    rows: int  # that hold numbers
    different: int  # numbers, counted where there are texts
    texts: Mapping[str, int]  # and how many rows have each


def assert_no_stray_text(files: Sequence[Rows], columns: Sequence[str], label: int, header: bool) -> None:
    """Raises DataRejected for text in a feature's numbers. The first of the files is the training file."""
    train, *others = files
    if not train.complete:  # what is further down may make it a column of text
        return
    for position, name in enumerate(columns):
        if position == label:
            continue
        found = _column(train, position, header, most=1 - LOOKS_NUMERIC)
        if found is None:
            continue
        strays = sum(found.texts.values())
        if found.texts:
            share = 1 - strays / (found.rows + strays)
            looks_numeric = share >= LOOKS_NUMERIC and found.different > MANY_NUMBERS
            if looks_numeric and not _may_be_numbers(found.texts):
                raise DataRejected(_sentence(train, position, name, header, found.texts))
        elif found.rows:
            for other in others:
                there = _column(other, position, header, most=1)
                if there is not None and there.texts and not _may_be_numbers(there.texts):
                    raise DataRejected(_sentence(other, position, name, header, there.texts))


def _column(rows: Rows, position: int, header: bool, most: float) -> _Column | None:
    """None where it depends on the column's spelling which of its values are numbers, or more than the share `most` of
    the rows has text."""
    cells = list(map(itemgetter(position), rows.rows[1 if header else 0 :]))
    try:  # most columns are done with this, which loops in C alone
        present = list(map(float, filterfalse(_MISSING_FORMS.__contains__, cells)))
        if math.isfinite(sum(present)):
            return _Column(len(present), 0, {})
    except ValueError:
        pass
    numbers, spelled, texts = Counter[str](), Counter[str](), Counter[str]()
    left = most * len(cells)
    for cell, times in Counter(cells).items():
        if _PLAIN.fullmatch(cell):
            numbers[cell.strip()] += times
        elif not is_missing(cell):
            is_text = as_number(plain := cell.strip(), rows.delimiter) is None
            (texts if is_text else spelled)[plain] += times
            left -= times * is_text
            if left < 0:
                return None
    if spelled and not (all(map(_ONE_COMMA.fullmatch, spelled)) and not any("." in number for number in numbers)):
        return None
    return _Column(numbers.total() + spelled.total(), len(numbers) + len(spelled), texts)


def _may_be_numbers(texts: Mapping[str, int]) -> bool:
    """Whether the training job may read them as numbers after all: dashes as missing ones, or all with one unit."""
    rest = [text for text in texts if not _stands_for_none(text)]
    units = [found["unit"] if (found := _WITH_UNIT.fullmatch(text)) else None for text in rest]
    return len(set(units)) <= 1 and None not in units


def _stands_for_none(text: str) -> bool:
    return text in DASHES or _INFINITE.fullmatch(text) is not None


def _sentence(rows: Rows, position: int, name: str, header: bool, texts: Mapping[str, int]) -> str:
    first = next(
        row
        for row in range(1 if header else 0, len(rows.rows))
        if (cell := rows.rows[row][position].strip()) in texts and not _stands_for_none(cell)
    )
    column = f'the column "{short(name)}"' if header else f"column {position} (counted from 0)"
    text = short(rows.rows[first][position])
    more = sum(texts.values()) - 1
    also = f" ({more:,} more row{'s have' if more > 1 else ' has'} text there)" if more else ""
    return (
        f'{rows.name}, line {rows.line_of(first)} has "{text}" in {column}, which otherwise holds numbers{also}; '
        "correct it, or leave the field empty."
    )
