"""From columns to the network's input, the same way in training and in serving, in NumPy alone.

The encoding is plain data inside schema.json. A number is centred on the training rows' median and divided by their
spread (the interquartile range, which a few absurd values cannot move); a missing one stays NaN, which the network
tells apart. Its knots are quantiles of the training rows, between which the network interpolates (Gorishniy et al.,
https://arxiv.org/abs/2203.05556). A categorical column becomes a code: 0 for what training did not know, 1 for missing,
then the known categories.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


Encoding = NumericEncoding | CategoricalEncoding


@dataclass(frozen=True)
class Inputs:
    """The network's input."""

    numbers: NDArray[np.float32]  # rows x numeric columns: spreads from the median, NaN where missing
    codes: NDArray[np.int64]  # rows x categorical columns; each points at a row of its own in one table of categories


def fit(name: str, column: Column) -> Encoding:
    """The encoding of a column, from the training rows alone."""
    if isinstance(column, Texts):
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.categories))
        often = [place for place in np.argsort(-counts, kind="stable")[:MAX_CATEGORIES] if counts[place] >= 2]
        return CategoricalEncoding(name, sorted(column.categories[place] for place in often))
    known = column.values[~np.isnan(column.values)]
    missing = len(known) < len(column.values)
    if not len(known):
        return NumericEncoding(name, 0.0, 1.0, [0.0], missing, spelling=column.spelling)
    if len(known) > SAMPLE_ROWS:
        known = known[np.random.default_rng(0).choice(len(known), SAMPLE_ROWS, replace=False)]
    known = np.sort(known)
    center, scale = _center_and_spread(known)
    knots = _knots(scores(known, center, scale))
    return NumericEncoding(name, center, scale, knots, missing, spelling=column.spelling)


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
        self.categorical = [(i, e) for i, e in enumerate(encodings) if isinstance(e, CategoricalEncoding)]
        self.centers = np.array([e.center for _, e in self.numeric])
        self.scales = np.array([e.scale for _, e in self.numeric])
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
        encodings: list[Encoding] = []
        for column in columns:
            if column["kind"] == "categorical":
                encodings.append(CategoricalEncoding(**column))
            else:
                spelling = column.get("spelling")
                encodings.append(NumericEncoding(**{**column, "spelling": Spelling(**spelling) if spelling else None}))
        return cls(encodings)

    def to_schema(self) -> list[dict[str, Any]]:
        return [asdict(encoding) for encoding in self.encodings]

    def knots(self) -> list[list[float]]:
        """Of each numeric input, in the order of `Inputs.numbers`."""
        return [encoding.knots for _, encoding in self.numeric]

    def encode_numbers(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Rows x numeric columns, NaN or infinite where missing."""
        return scores(values, self.centers, self.scales).astype(np.float32)

    def encode(self, columns: Sequence[Column]) -> Inputs:
        """All columns in the schema's order, each of the kind its encoding says."""
        rows = 0
        for column in columns:
            rows = len(column.values if isinstance(column, Numbers) else column.codes)
        numbers = np.empty((rows, len(self.numeric)), dtype=np.float32)
        for place, (i, encoding) in enumerate(self.numeric):
            column = columns[i]
            assert isinstance(column, Numbers)
            # A column at a time: the table is never there twice in double precision.
            numbers[:, place] = scores(column.values, encoding.center, encoding.scale)
        codes = np.empty((rows, len(self.categorical)), dtype=np.int64)
        for place, (i, _) in enumerate(self.categorical):
            column = columns[i]
            assert isinstance(column, Texts)
            lookup = self.lookups[place]
            # The last entry is what -1, missing, points at.
            table = np.array([*(lookup.get(text, UNKNOWN_CODE) for text in column.categories), MISSING_CODE])
            codes[:, place] = table[column.codes] + self.offsets[place]
        return Inputs(numbers, codes)
