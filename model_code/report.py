"""What a model's card shows, as report.json: profiles of the data, how far the model can be trusted, what it relies on.

Pure NumPy over columns and a predict function, so that any model can be reported on. Everything is bounded: rows are
sampled, columns and names are cut, and the file stays under LARGEST_BYTES.

Privacy: the report holds aggregates and never a row. Of a number column it has quantiles, the smallest and the largest
value and a histogram; of a category it names values only that FEWEST_NAMED rows share. Classes are named, as they are
in the model's answers.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import dates
import metrics
from preprocess import Column, Numbers, Texts, days_of, take

if TYPE_CHECKING:
    from dataset import Dataset, Rows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Predict = Callable[[Sequence[Column]], Floats]  # rows x classes of probabilities, or a number per row

FORMAT = 1
LARGEST_BYTES = 512 * 1024
FEWEST_NAMED = 5
PACKAGES = ("numpy", "pyarrow", "torch", "xgboost", "scikit-learn")

_PROFILE_CELLS = 1_000_000
_FEWEST_PROFILE_ROWS = 2_000
_MOST_COLUMNS = 500
_MOST_NAME = 120
_MOST_VALUE = 60
_TOP_CATEGORIES = 8
_MOST_CLASSES = 12
_BINS = 20
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
_JUDGED_ROWS = 10_000
_CALIBRATION_BINS = 10
_ROC_POINTS = 80
_GRID = 24
_IMPORTANCE_ROWS = (2_000, 1_000, 500, 250, 125)
_FEW_TEST_ROWS = 200  # fewer tell little of importance; validation rows are taken if there are more of them
_REPEATS = 5
_MANY_COLUMNS = 50
_REPEATS_OF_MANY = 3
_FOLLOWED = 20  # columns that were not measured, of which it is said how closely predictions follow them
_ROWS_AT_ONCE = 20_000
_CELLS_AT_ONCE = 1_000_000
_TIMED_ROWS = 100
_ASSOCIATION_ROWS = 500


def build(
    data: Dataset,
    predict: Predict,
    *,
    curve: Sequence[Sequence[float]] = (),
    seconds: float = 1.0,
) -> dict[str, Any]:
    """The report on a model that was trained on `data`, as plain JSON.

    `predict` takes columns as those of `data`. `curve` has each epoch's number, training loss, validation loss and
    fold. Importance, the costly part, ends after about `seconds`.
    """
    columns, rows = _profile(data.names, data.train)
    judged = sample(data.test, _JUDGED_ROWS)
    predicted = predict(judged.columns)
    found: dict[str, Any] = {
        "format": FORMAT,
        "rows": {
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
            "without_label": data.rows_without_label,
        },
        "profiled_rows": rows,
        "columns": columns,
        "columns_left_out": len(data.names) - len(columns),
        "label": _label(data),
        "judged_rows": len(judged),
        "importance": importance(data, predict, seconds=seconds),
        "training": {"curve": [[_short(value) for value in one] for one in curve]},
        "packages": packages(),
    }
    if data.classes is None:
        found["residuals"] = residuals(judged.label, predicted)
    else:
        names = [_cut(str(of), _MOST_VALUE) for of in data.classes]
        found["calibration"] = calibration(judged.label, predicted)
        found["confusion"] = confusion(judged.label, predicted.argmax(axis=1), names)
        if len(names) == 2:
            found["roc"] = {"points": roc(judged.label == 1, predicted[:, 1])}
    return found


def dump(report: dict[str, Any]) -> str:
    """As JSON of at most LARGEST_BYTES: columns go, from the end, until it fits."""
    while True:
        text = json.dumps(report, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode()) <= LARGEST_BYTES or not report["columns"]:
            return text
        kept = report["columns"][: len(report["columns"]) // 2]
        gone = len(report["columns"]) - len(kept)
        report = report | {"columns": kept, "columns_left_out": report["columns_left_out"] + gone}


@dataclass
class Curve:
    """The losses of each epoch, read from the lines that training prints for SageMaker's metric definitions.

    They are kept in the checkpoint folder as well, so that a run that was interrupted has its whole curve. Of several
    processes one keeps them; the others have no folder.
    """

    log: Callable[[str], None]
    folder: Path | None
    epochs: dict[int, tuple[float, float, int]] = field(default_factory=dict)
    fold: int = 0

    FILE = "curve.json"
    _FOLD = re.compile(r"Fold (\d+) of ")
    _LINE = re.compile(r"(?:^|\s)epoch=(\d+)\b.*?\btrain_loss=(\S+).*?\bvalidation_loss=(\S+)")

    def __call__(self, line: str) -> None:
        """Prints the line, and remembers it if it tells of an epoch."""
        self.log(line)
        begun = self._FOLD.match(line)
        if begun:
            self.fold = int(begun[1]) - 1
        told = self._LINE.search(line)
        if told is None:
            return
        epoch = int(told[1])
        if not self.epochs and epoch > 1:
            self.epochs = self._kept()
        # A run that starts afresh tells of its first epoch again: what is later belongs to another run.
        self.epochs = {one: losses for one, losses in self.epochs.items() if one < epoch}
        self.epochs[epoch] = float(told[2]), float(told[3]), self.fold
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".{self.FILE}.draft"
        draft.write_text(json.dumps(self.points()))
        draft.replace(self.folder / self.FILE)

    def points(self) -> list[list[float]]:
        """Epoch, training loss, validation loss and fold, as `build` takes them. Epochs go on over the folds."""
        return [[epoch, *losses] for epoch, losses in sorted(self.epochs.items())]

    def _kept(self) -> dict[int, tuple[float, float, int]]:
        if self.folder is None:
            return {}
        try:
            points = json.loads((self.folder / self.FILE).read_text())
            return {int(one[0]): (float(one[1]), float(one[2]), int(one[3])) for one in points}
        except (OSError, ValueError, TypeError, LookupError):
            return {}


def packages() -> dict[str, str]:
    """Python and the libraries of PACKAGES that are installed, by version."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


# ---- the data ----


def sample(rows: Rows, most: int, seed: int = 0) -> Rows:
    """At most so many of the rows, chosen by the seed."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]


def _profile(names: Sequence[str], train: Rows) -> tuple[list[dict[str, Any]], int]:
    """Of the first _MOST_COLUMNS columns, and from how many rows."""
    shown = min(len(names), _MOST_COLUMNS)
    most = max(_FEWEST_PROFILE_ROWS, _PROFILE_CELLS // max(1, shown))
    places = None
    if len(train) > most:
        places = np.random.default_rng(0).choice(len(train), most, replace=False)
    found = []
    for name, column in zip(names[:shown], train.columns[:shown], strict=True):
        some = column if places is None else take(column, places)
        found.append({"name": _cut(name, _MOST_NAME), **profile(some)})
    return found, min(len(train), most)


def profile(column: Column) -> dict[str, Any]:
    """One column: kind, share of missing values, how many values differ, and how they are distributed."""
    if isinstance(column, Texts):
        counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.categories))
        present = int(counts.sum())
        form = dates.form_of([text for text, count in zip(column.categories, counts, strict=True) if count])
        if form:
            return _date_profile(column, form)
        top = [place for place in np.argsort(-counts, kind="stable")[:_TOP_CATEGORIES] if counts[place] >= FEWEST_NAMED]
        named: list[list[Any]] = [[_cut(column.categories[place], _MOST_VALUE), int(counts[place])] for place in top]
        return {
            "kind": "category",
            "missing": _share(len(column.codes) - present, len(column.codes)),
            "distinct": int((counts > 0).sum()),
            "top": named,
            "others": present - sum(count for _, count in named),
        }
    known = np.sort(column.values[np.isfinite(column.values)])
    found: dict[str, Any] = {
        "kind": "number",
        "missing": _share(len(column.values) - len(known), len(column.values)),
        "distinct": int((np.diff(known) > 0).sum()) + min(1, len(known)),
    }
    if len(known):
        found["quantiles"] = [_short(value) for value in _quantiles(known, _QUANTILES)]
        found["histogram"] = histogram(known, found["distinct"])
    return found


def _date_profile(column: Texts, form: str) -> dict[str, Any]:
    """The same of dates: their quantiles are days, as ISO texts."""
    days = days_of(column, form)
    known = np.sort(days[np.isfinite(days)])
    distinct = int((np.diff(known) > 0).sum()) + min(1, len(known))
    quantiles = np.floor(_quantiles(known, _QUANTILES)).astype(np.int64).astype("datetime64[D]")
    return {
        "kind": "date",
        "missing": _share(len(days) - len(known), len(days)),
        "distinct": distinct,
        "quantiles": [str(day) for day in quantiles],
        "histogram": histogram(known, distinct),
    }


def histogram(ordered: Floats, distinct: int) -> dict[str, Any]:
    """Counts of sorted numbers in equal steps; the outermost hundredth, half at each end, is in the outermost steps.

    A few whole numbers get a step each.
    """
    low, high = float(ordered[0]), float(ordered[-1])
    bins = _BINS
    if distinct <= _BINS and high - low < _BINS and (ordered == np.rint(ordered)).all():
        bins = int(high - low) + 1
        low, high = low - 0.5, high + 0.5
    elif distinct > _BINS:
        inner = _quantiles(ordered, (0.005, 0.995))
        if inner[1] > inner[0]:
            low, high = float(inner[0]), float(inner[1])
    if not np.isfinite(high - low) or high <= low:
        return {"low": _short(low), "high": _short(high), "counts": [len(ordered)]}
    inner_edges = low + (high - low) / bins * np.arange(1, bins)
    below = np.searchsorted(ordered, inner_edges, side="left")
    counts = np.diff(np.concatenate(([0], below, [len(ordered)])))
    return {"low": _short(low), "high": _short(high), "counts": counts.tolist()}


def _quantiles(ordered: Floats, shares: Sequence[float]) -> Floats:
    """Of sorted numbers, between two of them in proportion: as numpy.quantile does, which sorts each time."""
    places = np.asarray(shares) * (len(ordered) - 1)
    below = places.astype(np.int64)
    above = np.minimum(below + 1, len(ordered) - 1)
    weight = places - below
    return np.asarray(ordered[below] * (1 - weight) + ordered[above] * weight)


def _label(data: Dataset) -> dict[str, Any]:
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    found: dict[str, Any] = {"name": _cut(data.label_name, _MOST_NAME)}
    if data.classes is None:
        return found | profile(Numbers(sample(data.train, _PROFILE_CELLS).label))
    counts = {split: np.bincount(rows.label, minlength=len(data.classes)) for split, rows in splits.items()}
    shown = _most_frequent(counts["train"])
    rest = sorted(set(range(len(data.classes))) - set(shown))
    found["classes"] = [
        {"name": _cut(str(data.classes[of]), _MOST_VALUE)}
        | {split: int(counted[of]) for split, counted in counts.items()}
        for of in shown
    ]
    found["other_classes"] = {"classes": len(rest)} | {split: int(c[rest].sum()) for split, c in counts.items()}
    return found | {"kind": "classes"}


def _most_frequent(counts: Integers) -> list[int]:
    """In their own order: all, or those that fit beside a row for the others."""
    if len(counts) <= _MOST_CLASSES:
        return list(range(len(counts)))
    return sorted(int(of) for of in np.argsort(-counts, kind="stable")[: _MOST_CLASSES - 1])


# ---- how far the model can be trusted ----


def calibration(labels: Integers, probabilities: Floats) -> dict[str, Any]:
    """Whether what is called 80 % likely happens in 80 % of the cases.

    Of two classes: the probability of the second. Of more: the probability of the class that is predicted. In ten steps
    of a tenth each; the figures that sum it up are in metrics.py.
    """
    binary = probabilities.shape[1] == 2
    if binary:
        said, happened = probabilities[:, 1], labels == 1
    else:
        said, happened = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.minimum((said * _CALIBRATION_BINS).astype(np.int64), _CALIBRATION_BINS - 1)
    rows = np.bincount(place, minlength=_CALIBRATION_BINS)
    used = np.flatnonzero(rows)
    predicted = np.bincount(place, said, _CALIBRATION_BINS)[used] / rows[used]
    observed = np.bincount(place, happened, _CALIBRATION_BINS)[used] / rows[used]
    return {
        "of": "second class" if binary else "predicted class",
        "bins": [
            {"rows": int(rows[bin_]), "predicted": _short(float(p)), "observed": _short(float(o))}
            for bin_, p, o in zip(used, predicted, observed, strict=True)
        ],
    }


def confusion(labels: Integers, predicted: Integers, classes: Sequence[str]) -> dict[str, Any]:
    """How often each class (a row) was predicted as which (a column); rare classes share the last row and column."""
    shown = _most_frequent(np.bincount(labels, minlength=len(classes)))
    names = [classes[of] for of in shown]
    place = np.full(len(classes), len(shown))
    place[shown] = np.arange(len(shown))
    size = len(shown) + (len(shown) < len(classes))
    counts = np.bincount(place[labels] * size + place[predicted], minlength=size * size).reshape(size, size)
    return {"classes": names, "others": len(classes) - len(shown), "counts": counts.tolist()}


def roc(positive: NDArray[np.bool_], scores: Floats) -> list[list[float]]:
    """False and true positive rate over all thresholds, thinned; empty where there is one class only."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return []
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    true = np.append(0, np.cumsum(positive[order])[last_of_ties]) / positives
    false = np.append(0, np.cumsum(~positive[order])[last_of_ties]) / negatives
    if len(true) > _ROC_POINTS:
        kept = np.unique(np.searchsorted(true + false, np.linspace(0, 2, _ROC_POINTS)).clip(0, len(true) - 1))
        true, false = true[kept], false[kept]
    return [[round(float(f), 6), round(float(t), 6)] for f, t in zip(false, true, strict=True)]


def residuals(truth: Floats, predicted: Floats) -> dict[str, Any]:
    """Predicted against actual, counted in a grid, and the distribution of their difference (actual - predicted).

    The grid is logarithmic where all numbers are positive and go over two powers of ten.
    """
    both = np.concatenate((truth, predicted))
    low, high = (float(value) for value in np.quantile(both, (0.005, 0.995)))
    if high <= low:
        low, high = float(both.min()), float(both.max())
    logarithmic = float(both.min()) > 0 and high / low > 100
    scaled = [np.log10(values) for values in (truth, predicted)] if logarithmic else [truth, predicted]
    edges = (np.log10(low), np.log10(high)) if logarithmic else (low, high)
    width = (edges[1] - edges[0]) or 1.0
    place = [((values - edges[0]) / width * _GRID).clip(0, _GRID - 1).astype(np.int64) for values in scaled]
    cells = np.bincount(place[0] * _GRID + place[1], minlength=_GRID**2)
    left = truth - predicted
    return {
        "low": _short(low),
        "high": _short(high),
        "logarithmic": logarithmic,
        "size": _GRID,
        "cells": [[int(c % _GRID), int(c // _GRID), int(cells[c])] for c in np.flatnonzero(cells)],
        "histogram": histogram(np.sort(left), len(np.unique(left))),
        "mean": _short(float(left.mean())),
        "absolute_quantiles": [_short(value) for value in np.quantile(np.abs(left), (0.5, 0.9))],
    }


# ---- what the model relies on ----


def importance(
    data: Dataset, predict: Predict, *, seconds: float, clock: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """How much worse the model gets when one column's values are dealt out to other rows at random.

    Worse by log loss, or root mean squared error: they see every row, where the area under a curve that is nearly
    perfect hardly moves. `drop` is the mean of the repeats and `spread` their standard deviation.

    The model is asked again and nothing is trained (Breiman, "Random Forests", Machine Learning 45, 2001, section 10).
    Two columns that say the same can stand in for one another, and then neither looks important. Columns that
    predictions go along with most are measured first, each several times in one call of `predict`; when the time is
    up, the rest is not measured, and of the next _FOLLOWED it is said how closely predictions follow them.
    """
    begin = clock()
    few = len(data.test) < _FEW_TEST_ROWS and len(data.validation) > len(data.test)
    rows = sample(data.validation if few else data.test, _IMPORTANCE_ROWS[0])
    width = len(data.names)
    at_once = max(len(rows), min(_ROWS_AT_ONCE, _CELLS_AT_ONCE // width))
    per_row = _seconds_per_row(rows, predict, at_once // 4, seconds / 20, clock)
    at_once = int(min(at_once, max(1.0, seconds / 8 / max(per_row, 1e-9))))
    repeats = _REPEATS if width <= _MANY_COLUMNS else _REPEATS_OF_MANY
    fits = [most for most in _IMPORTANCE_ROWS if most * repeats * width * per_row <= seconds / 2]
    rows = sample(rows, fits[0] if fits else _IMPORTANCE_ROWS[-1])
    before = predict(rows.columns)
    name, score = ("rmse", metrics.rmse) if data.classes is None else ("log_loss", metrics.log_loss)
    baseline = score(rows.label, before)
    follows = association(rows.columns, before)
    order = np.argsort(-follows, kind="stable")
    rng = np.random.default_rng(0)
    dealt = np.concatenate([rng.permutation(len(rows)) for _ in range(repeats)])
    # Several columns' turns go into one call: many small ones would cost more than the predictions.
    together = int(max(1, min(width, at_once // len(dealt))))
    found: list[tuple[float, float, str]] = []
    for first in range(0, width, together):
        if found and clock() - begin > seconds:
            break
        turn = order[first : first + together]
        columns = _dealt(rows, turn, dealt)
        after = predict(columns).reshape(len(turn), repeats, len(rows), -1)
        if data.classes is None:
            after = after[..., 0]
        for place, predictions in zip(turn, after, strict=True):
            worse = np.array([score(rows.label, one) for one in predictions]) - baseline
            found.append((float(worse.mean()), float(worse.std(ddof=1)), data.names[place]))
    found.sort(reverse=True)
    return {
        "metric": name,
        "baseline": _short(baseline),
        "split": "validation" if few else "test",
        "rows": len(rows),
        "repeats": repeats,
        "columns": [
            {"name": _cut(column, _MOST_NAME), "drop": _short(drop), "spread": _short(spread)}
            for drop, spread, column in found[:_MOST_COLUMNS]
        ],
        "not_measured": width - len(found),
        "followed": [
            {"name": _cut(data.names[place], _MOST_NAME), "share": _short(float(follows[place]))}
            for place in order[len(found) : len(found) + _FOLLOWED]
        ],
    }


def _seconds_per_row(rows: Rows, predict: Predict, most: int, seconds: float, clock: Callable[[], float]) -> float:
    """How long a prediction takes, from some rows, and then from as many as may take about so long."""

    def taken(count: int) -> float:
        timed = rows[np.arange(count) % len(rows)]
        started = clock()
        predict(timed.columns)
        return (clock() - started) / count

    first = taken(_TIMED_ROWS)
    more = int(min(most, seconds / max(first, 1e-9)))
    return taken(more) if more > 2 * _TIMED_ROWS else first


def _dealt(rows: Rows, turn: Integers, dealt: Integers) -> list[Column]:
    """The rows once per column of the turn and repeat; in its own part each column of the turn is dealt out."""
    as_they_are = np.tile(np.arange(len(rows)), len(turn) * len(dealt) // len(rows))
    columns = [take(column, as_they_are) for column in rows.columns]
    for part, place in enumerate(turn):
        places = as_they_are.copy()
        places[part * len(dealt) : (part + 1) * len(dealt)] = dealt
        columns[place] = take(rows.columns[place], places)
    return columns


def association(columns: Sequence[Column], predicted: Floats) -> Floats:
    """Per column, which share of the predictions' variance lies between its values: tenths, or categories.

    Less what chance alone puts there: epsilon squared (Kelley, "An Unbiased Correlation Ratio Measure", 1935), without
    which a column of names would look best. Cheap, and for order only: it sees one column at a time, no interaction.
    """
    scores = predicted.reshape(len(predicted), -1)[:_ASSOCIATION_ROWS]
    scores = scores[:, np.argsort(-scores.var(axis=0))[:4]]
    scores = scores - scores.mean(axis=0)
    total = float((scores**2).sum()) or 1.0
    found = np.zeros(len(columns))
    for place, column in enumerate(columns):
        if isinstance(column, Texts):
            groups = column.codes[: len(scores)] + 1
        else:
            values = column.values[: len(scores)]
            ordered = np.sort(values)  # what is missing comes last, and is the last group
            edges = ordered[(len(values) - np.isnan(values).sum()) * np.arange(1, 10) // 10 - 1]
            groups = np.where(np.isnan(values), 10, np.searchsorted(edges, values, side="left"))
        sizes = np.bincount(groups)
        for one in scores.T:
            sums = np.bincount(groups, one)
            found[place] += float((sums**2 / np.maximum(sizes, 1)).sum()) / total
        free = len(scores) - np.count_nonzero(sizes)
        left = (1 - found[place]) * (len(scores) - 1) / free if free > 0 else 1.0
        found[place] = max(0.0, 1 - left)
    return found


# ---- figures ----


def _short(value: float) -> float | None:
    """Six digits that count; JSON has no infinity."""
    value = float(value)
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _share(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0


def _cut(text: str, most: int) -> str:
    """Without halves of surrogate pairs, which can't be written as UTF-8."""
    text = text.encode(errors="replace").decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"
