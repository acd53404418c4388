"""From columns to the network's input, the same way in training and in serving, in NumPy alone.

The encoding is plain data inside schema.json. A number is centred on the training rows' median and divided by their
spread (the interquartile range, which a few absurd values cannot move); a missing one stays NaN, which the network
tells apart. Its knots are quantiles of the training rows, between which the network interpolates (Gorishniy et al.,
https://arxiv.org/abs/2203.05556). A categorical column becomes a code: 0 for what training did not know, 1 for missing,
then the known categories. A date becomes several numbers. A column that can't teach anything is left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dates
from numerals import Spelling

MISSING_TOKENS = frozenset({"", "na", "n/a", "?", "nan", "null", "none", "-nan", "#n/a"})  # compared in lower case
UNKNOWN_CODE = 0
MISSING_CODE = 1
FIRST_CATEGORY_CODE = 2
MAX_CATEGORIES = 1000  # per column; rarer ones share the unknown code
MAX_BINS = 48  # between a column's knots
ROWS_PER_BIN = 8  # fewer rows cannot tell a bend from noise
MAX_SCORE = 1e4  # spreads from the median; one absurd value must not drown the others, and must stay a number
BEND = 3.0  # spreads beyond which the network sees hardly any difference, see `network.bent`
SAMPLE_ROWS = 200_000  # of which quantiles are taken
ID_SHARE = 0.95  # of rows in which an id differs from all others
FEWEST_IDS = 30  # rows; in fewer, a good column may differ everywhere
_ID_NAME = re.compile(r"(?:^|[_ .-])(?:id|uuid|guid|key|index|row|rownum|unnamed: ?\d+)$|[a-z]I[dD]$", re.IGNORECASE)
_UNNAMED = re.compile(r"column_\d+")  # as dataset.py calls a column whose name is empty, or that stands in no header
_SPREAD_OF_QUARTILES = 1.349  # the interquartile range of a normal distribution, in standard deviations


@dataclass(frozen=True)
class Numbers:
    """A numeric column; NaN is missing."""

    values: NDArray[np.float64]
    spelling: Spelling | None = None  # how the file writes them, where that is not plainly


@dataclass(frozen=True)
class Texts:
    """A text column: each row's position in `categories`, or -1 where it is missing."""

    codes: NDArray[np.int64]
    categories: list[str]


Column = Numbers | Texts


def take(column: Column, chosen: slice | NDArray[Any]) -> Column:
    """Some rows of a column."""
    if isinstance(column, Texts):
        return Texts(column.codes[chosen], column.categories)
    return Numbers(column.values[chosen], column.spelling)


@dataclass(frozen=True)
class NumericEncoding:
    """How a numeric column enters the network; knots ascend and are in units of `scale` from `center`."""

    name: str
    center: float
    scale: float
    knots: list[float]
    missing: bool  # whether training rows lacked it
    kind: str = "numeric"
    spelling: Spelling | None = None  # how training data wrote it, where that was not plainly; requests may too


@dataclass(frozen=True)
class CategoricalEncoding:
    """How a categorical column enters the network."""

    name: str
    categories: list[str]
    kind: str = "categorical"


@dataclass(frozen=True)
class DateEncoding:
    """How a date enters the network: as those of its parts that differ between rows."""

    name: str
    form: str  # see dates.FORMS
    places: list[int]  # in dates.PARTS
    parts: list[NumericEncoding]
    kind: str = "date"


@dataclass(frozen=True)
class Dropped:
    """A column that callers send and the network does not see."""

    name: str
    reason: str
    kind: str = "dropped"


Encoding = NumericEncoding | CategoricalEncoding | DateEncoding | Dropped


@dataclass(frozen=True)
class Inputs:
    """The network's input."""

    numbers: NDArray[np.float32]  # rows x numeric columns: spreads from the median, NaN where missing
    codes: NDArray[np.int64]  # rows x categorical columns; each points at a row of its own in one table of categories


def fit_all(names: Sequence[str], columns: Sequence[Column]) -> list[Encoding]:
    """The encodings of a table's columns, of which at least one is kept."""
    found = [fit(name, column) for name, column in zip(names, columns, strict=True)]
    if not all(map(_UNNAMED.fullmatch, names)):  # of a table with a header; where there is none, no name says anything
        for place, (name, column) in enumerate(zip(names, columns, strict=True)):
            if isinstance(column, Numbers) and _UNNAMED.fullmatch(name) and _numbers_rows(column):
                found[place] = Dropped(name, "it has no name and numbers the rows")
    if all(isinstance(encoding, Dropped) for encoding in found):
        found[0] = _fit(names[0], columns[0])
    return found


def fit(name: str, column: Column) -> Encoding:
    """The encoding of a column, from the training rows alone."""
    reason = _why_not(name, column)
    return Dropped(name, reason) if reason else _fit(name, column)


def _why_not(name: str, column: Column) -> str | None:
    """Why a column can't teach anything, in words that go on after "because"."""
    known: NDArray[Any]
    if isinstance(column, Texts):
        known, rows = column.codes[column.codes >= 0], len(column.codes)
    else:
        known, rows = column.values[~np.isnan(column.values)], len(column.values)
    different = int((known != known[0]).any()) + 1 if len(known) else 0
    if not different:
        return "it is empty"
    if different == 1 and len(known) == rows:
        return "it is the same in every row"
    if differs_everywhere(column) and (isinstance(column, Texts) or _ID_NAME.search(name)):
        is_date = isinstance(column, Texts) and dates.form_of(column.categories)
        return None if is_date else "it differs in nearly every row, as ids do"
    return None


def _numbers_rows(column: Numbers) -> bool:
    """Whether it counts from 0 or 1, as the index that pandas writes; some rows may be in other splits."""
    known = column.values[~np.isnan(column.values)]
    return (
        differs_everywhere(column)
        and known.min() in (0, 1)
        and bool(known.max() < 2 * len(known))
        and len(known) == len(column.values)
    )


def differs_everywhere(column: Column) -> bool:
    """Whether a column of texts or whole numbers has another value in nearly each row."""
    known: NDArray[Any]
    if isinstance(column, Texts):
        known = column.codes[column.codes >= 0]
    else:
        known = column.values[~np.isnan(column.values)]
        if not (known == np.floor(known)).all():
            return False
    return len(known) >= FEWEST_IDS and len(np.unique(known)) >= ID_SHARE * len(known)


def _fit(name: str, column: Column) -> Encoding:
    if isinstance(column, Texts):
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.categories))
        form = dates.form_of([text for text, count in zip(column.categories, counts, strict=True) if count])
        if form:
            values = dates.parts(days_of(column, form))
            parts = [_fit_number(f"{name}: {part}", values[:, place]) for place, part in enumerate(dates.PARTS)]
            places = [place for place, part in enumerate(parts) if len(part.knots) > 1]
            return DateEncoding(name, form, places, [parts[place] for place in places])
        often = [place for place in np.argsort(-counts, kind="stable")[:MAX_CATEGORIES] if counts[place] >= 2]
        return CategoricalEncoding(name, sorted(column.categories[place] for place in often))
    return _fit_number(name, column.values, column.spelling)


def days_of(column: Texts, form: str) -> NDArray[np.float64]:
    """Read once per different text that these rows have: the categories may be those of a far longer column."""
    codes, places = np.unique(column.codes, return_inverse=True)
    return dates.days([column.categories[code] if code >= 0 else None for code in codes], form)[places]


def _fit_number(name: str, values: NDArray[np.floating[Any]], spelling: Spelling | None = None) -> NumericEncoding:
    known = values[~np.isnan(values)].astype(np.float64)
    missing = len(known) < len(values)
    if not len(known):
        return NumericEncoding(name, 0.0, 1.0, [0.0], missing, spelling=spelling)
    if len(known) > SAMPLE_ROWS:
        known = known[np.random.default_rng(0).choice(len(known), SAMPLE_ROWS, replace=False)]
    known = np.sort(known)
    center, scale = _center_and_spread(known)
    knots = _knots(scores(known, center, scale))
    return NumericEncoding(name, center, scale, knots, missing, spelling=spelling)


def _center_and_spread(known: NDArray[np.float64]) -> tuple[float, float]:
    """Median, and interquartile range as a standard deviation; the whole range where half the rows are one value."""
    low, center, high = (float(value) for value in np.quantile(known, (0.25, 0.5, 0.75)))
    with np.errstate(over="ignore"):
        scale = (high - low) / _SPREAD_OF_QUARTILES
        if not scale > 0:
            scale = float(known[-1] - known[0]) / 2
    if not np.isfinite(scale):
        scale = float(np.finfo(np.float64).max) / 4
    # A constant column's rounding noise must not become a signal.
    if scale <= 1e-12 * max(1.0, abs(center)):
        scale = 1.0
    return center, scale


def _knots(known: NDArray[np.float64]) -> list[float]:
    """Ascending and distinct: all values where they are few, else quantiles with about as many rows between any two."""
    bins = max(2, min(MAX_BINS, len(known) // ROWS_PER_BIN))
    single = known.astype(np.float32)  # what the network sees; knots that it can't tell apart are one
    distinct = np.unique(single)
    if len(distinct) > bins + 1:
        distinct = np.unique(np.quantile(single, np.linspace(0, 1, bins + 1)).astype(np.float32))
    return [float(value) for value in distinct]


def scores(values: NDArray[np.float64], center: Any, scale: Any) -> NDArray[np.float64]:
    """Spreads from the median, cut to what single precision holds well; NaN and infinite values become NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        found: NDArray[np.float64] = (values - center) / scale
    # One sum tells whether anything is missing; asking every cell costs more than the rest for a single row.
    if not np.isfinite(found.sum()):
        # A value that is a number and only too far away is cut, not missing.
        found[~np.isfinite(values)] = np.nan
    return found.clip(-MAX_SCORE, MAX_SCORE)


class Encoder:
    """Applies the encodings of a schema to rows, many at a time."""

    def __init__(self, encodings: Sequence[Encoding]) -> None:
        self.encodings = list(encodings)
        self.numeric = [(i, e) for i, e in enumerate(encodings) if isinstance(e, NumericEncoding)]
        self.dates = [(i, e) for i, e in enumerate(encodings) if isinstance(e, DateEncoding)]
        self.categorical = [(i, e) for i, e in enumerate(encodings) if isinstance(e, CategoricalEncoding)]
        self.used = frozenset(i for i, e in enumerate(encodings) if not isinstance(e, Dropped))
        # All that enter as numbers, in the order of `Inputs.numbers`.
        self.numbers = [e for _, e in self.numeric] + [part for _, e in self.dates for part in e.parts]
        self.numeric_alone = len(self.numeric) == len(self.encodings)
        self.centers = np.array([e.center for e in self.numbers])
        self.scales = np.array([e.scale for e in self.numbers])
        self.offsets: list[int] = []
        self.lookups: list[dict[str, int]] = []
        offset = 0
        for _, encoding in self.categorical:
            self.offsets.append(offset)
            self.lookups.append({text: FIRST_CATEGORY_CODE + i for i, text in enumerate(encoding.categories)})
            offset += FIRST_CATEGORY_CODE + len(encoding.categories)
        self.codes = offset  # rows of the table of categories

    @classmethod
    def from_schema(cls, columns: Sequence[dict[str, Any]]) -> Encoder:
        return cls([_from_schema(column) for column in columns])

    def to_schema(self) -> list[dict[str, Any]]:
        return [asdict(encoding) for encoding in self.encodings]

    def knots(self) -> list[list[float]]:
        """Of each numeric input, in the order of `Inputs.numbers`."""
        return [encoding.knots for encoding in self.numbers]

    def encode_numbers(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Rows x numeric columns, NaN or infinite where missing."""
        return scores(values, self.centers, self.scales).astype(np.float32)

    def encode(self, columns: Sequence[Column]) -> Inputs:
        """All columns in the schema's order, each of the kind its encoding says."""
        rows = 0
        for column in columns:
            rows = len(column.values if isinstance(column, Numbers) else column.codes)
        numbers = np.empty((rows, len(self.numbers)), dtype=np.float32)
        for place, (i, encoding) in enumerate(self.numeric):
            column = columns[i]
            assert isinstance(column, Numbers)
            # A column at a time: the table is never there twice in double precision.
            numbers[:, place] = scores(column.values, encoding.center, encoding.scale)
        place = len(self.numeric)
        for i, date in self.dates:
            column = columns[i]
            assert isinstance(column, Texts)
            values = dates.parts(days_of(column, date.form))
            for of, part in zip(date.places, date.parts, strict=True):
                numbers[:, place] = scores(values[:, of], part.center, part.scale)
                place += 1
        codes = np.empty((rows, len(self.categorical)), dtype=np.int64)
        for place, (i, _) in enumerate(self.categorical):
            column = columns[i]
            assert isinstance(column, Texts)
            lookup = self.lookups[place]
            # The last entry is what -1, missing, points at.
            table = np.array([*(lookup.get(text, UNKNOWN_CODE) for text in column.categories), MISSING_CODE])
            codes[:, place] = table[column.codes] + self.offsets[place]
        return Inputs(numbers, codes)


def _from_schema(column: dict[str, Any]) -> Encoding:
    match column["kind"]:
        case "categorical":
            return CategoricalEncoding(**column)
        case "date":
            return DateEncoding(**{**column, "parts": [_number_from_schema(part) for part in column["parts"]]})
        case "dropped":
            return Dropped(**column)
        case _:
            return _number_from_schema(column)


def _number_from_schema(column: dict[str, Any]) -> NumericEncoding:
    spelling = column.get("spelling")
    return NumericEncoding(**{**column, "spelling": Spelling(**spelling) if spelling else None})
