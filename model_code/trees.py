"""A gradient-boosted model in NumPy: what XGBoost has learnt as flat arrays, evaluated for all rows and trees at once.

Serving needs no xgboost package, which the PyTorch inference container lacks. The arrays come from the booster's own
JSON (see xgboost_trees.py), or from scikit-learn's trees (sklearn_trees.py); a test holds the answers to xgboost's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocess import Encoder, Inputs

KIND = "trees"
# Rows times trees that are walked at once: their places and values take about 30 bytes each.
_WALKED_AT_ONCE = 1 << 20


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, in place."""
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    return scores


@dataclass(frozen=True)
class Features:
    """What trees see of encoded rows: the numbers, then for each categorical column its codes' rows of a table."""

    tables: list[NDArray[np.float32]]  # per categorical column: codes x features
    offsets: list[int]  # the encoder's: where a column's codes begin

    @classmethod
    def load(cls, arrays: dict[str, NDArray[Any]], encoder: Encoder) -> Features:
        return cls([arrays[f"table.{place}"] for place in range(len(encoder.offsets))], encoder.offsets)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f"table.{place}": table for place, table in enumerate(self.tables)}

    def of(self, inputs: Inputs) -> NDArray[np.float32]:
        """Rows x features; NaN is missing."""
        parts = [inputs.numbers]
        for place, table in enumerate(self.tables):
            parts.append(table[inputs.codes[:, place] - self.offsets[place]])
        return np.hstack(parts) if len(parts) > 1 else inputs.numbers


@dataclass(frozen=True)
class Forest:
    """Trees whose nodes lie in common arrays. A leaf is its own child, so that every walk may take the same steps."""

    roots: NDArray[np.int32]  # of each tree
    groups: NDArray[np.int32]  # of each tree: which score it adds to
    feature: NDArray[np.int32]  # of each node
    threshold: NDArray[np.float32]  # of each node: below it to the left, else to the right
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing: NDArray[np.int32]  # where a row goes that lacks the feature
    value: NDArray[np.float32]  # of each leaf; 0 elsewhere
    base: NDArray[np.float32]  # of each score
    depth: int

    @classmethod
    def load(cls, arrays: dict[str, NDArray[Any]], depth: int) -> Forest:
        names = ("roots", "groups", "feature", "threshold", "left", "right", "missing", "value", "base")
        return cls(**{name: arrays[name] for name in names}, depth=depth)

    def arrays(self) -> dict[str, NDArray[Any]]:
        names = ("roots", "groups", "feature", "threshold", "left", "right", "missing", "value", "base")
        return {name: getattr(self, name) for name in names}

    def margins(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Rows x scores, before any link."""
        found = np.tile(self.base.astype(np.float64), (len(features), 1))
        if not len(self.roots):
            return found
        step = max(1, _WALKED_AT_ONCE // len(self.roots))
        for start in range(0, len(features), step):
            rows = features[start : start + step]
            values = self.value.take(self._leaves(rows)).astype(np.float64)
            for group in range(len(self.base)):
                found[start : start + step, group] += values[:, self.groups == group].sum(axis=1)
        return found

    def _leaves(self, rows: NDArray[np.float32]) -> NDArray[np.int32]:
        """Rows x trees: the nodes at which the rows end."""
        nodes = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        # `take` from one line of numbers is about twice as fast as indexing by row and column.
        values, starts = rows.ravel(), (np.arange(len(rows)) * rows.shape[1])[:, None]
        lacking = bool(np.isnan(rows).any())
        for _ in range(self.depth):
            seen = values.take(self.feature.take(nodes) + starts)
            left = seen < self.threshold.take(nodes)
            following = np.where(left, self.left.take(nodes), self.right.take(nodes))
            nodes = np.where(np.isnan(seen), self.missing.take(nodes), following) if lacking else following
        return nodes


@dataclass(frozen=True)
class Boosted:
    """Serves a forest."""

    features: Features
    forest: Forest

    @classmethod
    def load(cls, schema: dict[str, Any], arrays: dict[str, NDArray[Any]], encoder: Encoder) -> Boosted:
        return cls(Features.load(arrays, encoder), Forest.load(arrays, schema["model"]["depth"]))

    def probabilities(self, inputs: Inputs) -> NDArray[np.float64]:
        """Rows x classes."""
        margins = self.forest.margins(self.features.of(inputs))
        if margins.shape[1] == 1:  # the log-odds of the second of two classes
            margins = np.hstack((np.zeros_like(margins), margins))
        return softmax(margins)

    def numbers(self, inputs: Inputs) -> NDArray[np.float64]:
        """Regression: one number per row, in the label's unit."""
        return self.forest.margins(self.features.of(inputs))[:, 0]
