"""From columns to the network's input, the same way in training and in serving, in NumPy alone.

The encoding is plain data inside schema.json. A numeric column becomes its standard score, a missing value the mean,
with one more input that says "was missing" if the training rows had any. A categorical column becomes a code: 0 for
what training did not know, 1 for missing, then the known categories; the network sees the codes one-hot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MISSING_TOKENS = frozenset({"", "na", "n/a", "?", "nan", "null", "none", "-nan", "#n/a"})  # compared in lower case
UNKNOWN_CODE = 0
MISSING_CODE = 1
FIRST_CATEGORY_CODE = 2
MAX_CATEGORIES = 100  # per column; rarer ones share the unknown code
MAX_SCORE = 20.0  # standard scores are cut here: one absurd value must not drown the others


@dataclass(frozen=True)
class Numbers:
    """A numeric column; NaN is missing."""

    values: NDArray[np.float64]


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
    return Numbers(column.values[chosen])


@dataclass(frozen=True)
class NumericEncoding:
    """How a numeric column enters the network."""

    name: str
    mean: float
    scale: float
    indicator: bool
    kind: str = "numeric"


@dataclass(frozen=True)
class CategoricalEncoding:
    """How a categorical column enters the network."""

    name: str
    categories: list[str]
    kind: str = "categorical"


Encoding = NumericEncoding | CategoricalEncoding


@dataclass(frozen=True)
class Inputs:
    """The network's input: numbers as they are, and codes that already point at their own one-hot input."""

    numbers: NDArray[np.float32]  # rows x (numeric columns, then missing indicators)
    codes: NDArray[np.int64]  # rows x categorical columns


def fit(name: str, column: Column) -> Encoding:
    """The encoding of a column, from the training rows alone."""
    if isinstance(column, Texts):
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.categories))
        often = [place for place in np.argsort(-counts, kind="stable")[:MAX_CATEGORIES] if counts[place] >= 2]
        return CategoricalEncoding(name, sorted(column.categories[place] for place in often))
    known = column.values[~np.isnan(column.values)]
    if not len(known):
        return NumericEncoding(name, 0.0, 1.0, False)
    with np.errstate(over="ignore"):
        mean, scale = float(known.mean()), float(known.std())
    if not np.isfinite(mean) or not np.isfinite(scale):
        mean, scale = float(np.median(known)), float(np.abs(known).max())
    # A constant column's rounding noise must not become a signal.
    if scale <= 1e-12 * max(1.0, abs(mean)):
        scale = 1.0
    return NumericEncoding(name, mean, scale, len(known) < len(column.values))


class Encoder:
    """Applies the encodings of a schema to rows, many at a time."""

    def __init__(self, encodings: Sequence[Encoding]) -> None:
        self.encodings = list(encodings)
        self.numeric = [(i, e) for i, e in enumerate(encodings) if isinstance(e, NumericEncoding)]
        self.categorical = [(i, e) for i, e in enumerate(encodings) if isinstance(e, CategoricalEncoding)]
        self.means = np.array([e.mean for _, e in self.numeric])
        self.scales = np.array([e.scale for _, e in self.numeric])
        self.indicators = np.array([place for place, (_, e) in enumerate(self.numeric) if e.indicator], dtype=np.int64)
        self.number_inputs = len(self.numeric) + len(self.indicators)
        self.offsets: list[int] = []
        self.lookups: list[dict[str, int]] = []
        offset = self.number_inputs
        for _, encoding in self.categorical:
            self.offsets.append(offset)
            self.lookups.append({text: FIRST_CATEGORY_CODE + i for i, text in enumerate(encoding.categories)})
            offset += FIRST_CATEGORY_CODE + len(encoding.categories)
        self.inputs = offset  # the width of the network's input

    @classmethod
    def from_schema(cls, columns: Sequence[dict[str, Any]]) -> Encoder:
        return cls(
            [
                NumericEncoding(c["name"], float(c["mean"]), float(c["scale"]), bool(c["indicator"]))
                if c["kind"] == "numeric"
                else CategoricalEncoding(c["name"], list(c["categories"]))
                for c in columns
            ]
        )

    def to_schema(self) -> list[dict[str, Any]]:
        return [asdict(encoding) for encoding in self.encodings]

    def encode_numbers(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Rows x numeric columns, NaN or infinite where missing."""
        scores: NDArray[np.float64] = (values - self.means) / self.scales
        missing = None
        # One sum tells whether anything is missing; asking every cell costs more than the rest for a single row.
        if not np.isfinite(scores.sum()):
            missing = ~np.isfinite(values)
            scores[missing] = 0.0
        scores = scores.clip(-MAX_SCORE, MAX_SCORE)
        if not len(self.indicators):
            return scores.astype(np.float32)
        flags = np.zeros((len(values), len(self.indicators)))
        if missing is not None:
            flags[:] = missing[:, self.indicators]
        return np.hstack((scores, flags)).astype(np.float32)

    def encode(self, columns: Sequence[Column]) -> Inputs:
        """All columns in the schema's order, each of the kind its encoding says."""
        rows = 0
        for column in columns:
            rows = len(column.values if isinstance(column, Numbers) else column.codes)
        values = np.empty((rows, len(self.numeric)))
        for place, (i, _) in enumerate(self.numeric):
            column = columns[i]
            assert isinstance(column, Numbers)
            values[:, place] = column.values
        codes = np.empty((rows, len(self.categorical)), dtype=np.int64)
        for place, (i, _) in enumerate(self.categorical):
            column = columns[i]
            assert isinstance(column, Texts)
            lookup = self.lookups[place]
            # The last entry is what -1, missing, points at.
            table = np.array([*(lookup.get(text, UNKNOWN_CODE) for text in column.categories), MISSING_CODE])
            codes[:, place] = table[column.codes] + self.offsets[place]
        return Inputs(self.encode_numbers(values), codes)
