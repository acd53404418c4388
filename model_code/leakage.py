"""What to doubt before trusting a score: a column that knows the label, or a table where no column can."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataset import Rows
from preprocess import Dropped, Encoder, differs_everywhere

ROWS = 20_000  # looked at
FEWEST_ROWS = 40
ALMOST_ALL = 0.93  # of what there is to know of the label

# kind, "leak" or "chance", and message, a sentence: how metrics.json and the schema have it (docs/models.md)
Warned = dict[str, str]


def warnings(rows: Rows, label_name: str, classes: int, encoder: Encoder) -> list[Warned]:
    """For the log, the schema and the notice; `classes` is 0 for a number."""
    found: list[Warned] = []
    kept = [place for place, encoding in enumerate(encoder.encodings) if not isinstance(encoding, Dropped)]
    if len(kept) == 1 and differs_everywhere(rows.columns[kept[0]]):
        name = encoder.encodings[kept[0]].name
        message = (
            f"The only column to learn from, {name!r}, differs in nearly every row, as ids do; the score is chance."
        )
        return [{"kind": "chance", "message": message}]
    some = rows if len(rows) <= ROWS else rows[np.random.default_rng(0).choice(len(rows), ROWS, replace=False)]
    if len(some) < FEWEST_ROWS:
        return found
    inputs = encoder.encode(some.columns)
    owners = [i for i, _ in encoder.numeric] + [i for i, date in encoder.dates for _ in date.parts]
    told: dict[str, float] = {}
    for place, (owner, of) in enumerate(zip(owners, encoder.numbers, strict=True)):
        column = inputs.numbers[:, place]
        missing = np.isnan(column)
        groups = np.where(missing, len(of.knots) + 1, np.searchsorted(of.knots, column, side="right"))
        name = encoder.encodings[owner].name
        told[name] = max(told.get(name, 0.0), _explained(groups, some.label, classes))
    for place, (_, category) in enumerate(encoder.categorical):
        told[category.name] = _explained(inputs.codes[:, place] - encoder.offsets[place], some.label, classes)
    for name, share in told.items():
        if share >= ALMOST_ALL:
            message = (
                f"The column {name!r} alone tells {share:.0%} of what there is to know of the label {label_name!r}; "
                "leave it out if it is not known yet when the model is asked."
            )
            found.append({"kind": "leak", "message": message})
    return found


def _explained(groups: NDArray[np.int64], label: NDArray[Any], classes: int) -> float:
    """The share of the label's entropy (classes) or variance that its mean in each group, learnt from every other row,
    explains in the rest."""
    learns, judges = slice(0, None, 2), slice(1, None, 2)
    size = int(groups.max()) + 1
    counts = np.bincount(groups[learns], minlength=size).astype(np.float64)
    if not classes:
        overall = float(label[learns].mean())
        # One row of the overall mean in each group: a group with few rows must not look sure.
        means = (np.bincount(groups[learns], label[learns], minlength=size) + overall) / (counts + 1)
        spread = float(np.sum((label[judges] - overall) ** 2))
        return 1 - float(np.sum((label[judges] - means[groups[judges]]) ** 2)) / spread if spread else 0.0
    shares = np.bincount(label[learns], minlength=classes) / max(1, len(label[learns]))
    table = np.zeros((size, classes))
    np.add.at(table, (groups[learns], label[learns]), 1)
    table = (table + 0.1 * shares) / (counts + 0.1)[:, None]
    right = np.maximum(table[groups[judges], label[judges]], 1e-3)
    before = -np.log(np.maximum(shares[label[judges]], 1e-3)).sum()
    return 1 - float(-np.log(right).sum() / before) if before else 0.0
