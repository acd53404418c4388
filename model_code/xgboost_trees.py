"""What XGBoost has learnt, from its own JSON, as the arrays that trees.py serves.

The layout of the JSON is XGBoost's published schema (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html).
The file that the built-in algorithm leaves is UBJSON, XGBoost's own default since 2.1; it is loaded by XGBoost's own
loader, which reads data and executes nothing, and is never unpickled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trees import Forest

_MAX_DIFFERENCE = 1e-4  # of two margins of one row, by single and double precision


class ModelMismatch(Exception):
    """The booster holds something that trees.py does not do."""


def load(path: Path) -> Any:
    """The xgboost.Booster of a file that Booster.save_model wrote."""
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(path.read_bytes()))
    return booster


def forest(booster: Any, sample: NDArray[np.float32]) -> Forest:
    """The booster as arrays. `sample` are rows of features, on which both must answer the same.

    Raises ModelMismatch for a booster that is not plain trees, or that answers otherwise.
    """
    import xgboost

    learner = json.loads(booster.save_raw("json"))["learner"]
    gradient = learner["gradient_booster"]
    if gradient["name"] != "gbtree":
        raise ModelMismatch(f"The model is of the kind {gradient['name']}; only gbtree can be served.")
    outputs = max(1, int(learner["learner_model_param"]["num_class"]))
    found = _arrays(gradient["model"]["trees"], gradient["model"]["tree_info"], outputs)
    told = booster.predict(xgboost.DMatrix(sample, missing=np.nan), output_margin=True).reshape(len(sample), outputs)
    # The score before any tree is told in different units by different versions; the difference tells it in ours.
    difference = told - found.margins(sample)
    base = np.median(difference, axis=0)
    worst = float(np.abs(difference - base).max() / max(1.0, float(np.abs(told).max())))
    if not worst <= _MAX_DIFFERENCE:
        raise ModelMismatch(f"The model's trees answer otherwise than XGBoost, by {worst:g}.")
    found.base[:] = base
    return found


def _arrays(trees: list[dict[str, Any]], groups: list[int], outputs: int) -> Forest:
    """The trees' nodes one after another; places are counted over all of them."""
    parts: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "missing", "value")
    }
    roots = []
    depth = start = 0
    for tree in trees:
        if any(tree["split_type"]):
            raise ModelMismatch("The model splits by category itself; only numeric splits can be served.")
        left = np.array(tree["left_children"], dtype=np.int32)
        leaf = left < 0
        own = np.arange(len(left), dtype=np.int32)
        left = np.where(leaf, own, left)
        right = np.where(leaf, own, np.array(tree["right_children"], dtype=np.int32))
        conditions = np.array(tree["split_conditions"], dtype=np.float32)  # of a leaf: its value
        roots.append(start)
        parts["feature"].append(np.where(leaf, 0, np.array(tree["split_indices"], dtype=np.int32)))
        parts["threshold"].append(np.where(leaf, np.float32(0), conditions))
        parts["value"].append(np.where(leaf, conditions, np.float32(0)))
        parts["left"].append(left + start)
        parts["right"].append(right + start)
        parts["missing"].append(np.where(np.array(tree["default_left"], dtype=bool), left, right) + start)
        depth = max(depth, _depth(left, right, leaf))
        start += len(left)
    empty = {"threshold": np.float32, "value": np.float32}
    joined: dict[str, Any] = {
        name: np.concatenate(arrays).astype(empty.get(name, np.int32)) if arrays else np.empty(0, np.int32)
        for name, arrays in parts.items()
    }
    return Forest(
        roots=np.array(roots, dtype=np.int32),
        groups=np.array(groups[: len(roots)], dtype=np.int32),
        base=np.zeros(outputs, dtype=np.float32),
        depth=depth,
        **joined,
    )


def _depth(left: NDArray[np.int32], right: NDArray[np.int32], leaf: NDArray[np.bool_]) -> int:
    level, depth = np.array([0]), 0
    while True:
        level = level[~leaf[level]]
        if not len(level):
            return depth
        level = np.concatenate((left[level], right[level]))
        depth += 1
