"""XGBoost's models served in NumPy: the same answers, without the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import tensors
import xgboost_trees
from trees import Boosted, Features, Forest

ROWS = 400


def table() -> tuple[Any, Any]:
    """Three numbers, of which a tenth is missing, and a signal in them."""
    random = np.random.default_rng(7)
    rows = random.standard_normal((ROWS, 3)).astype(np.float32)
    signal = rows[:, 0] * rows[:, 1] + rows[:, 2]
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows, signal


@pytest.mark.parametrize(
    ("objective", "classes"), [("binary:logistic", 2), ("multi:softprob", 3), ("reg:squarederror", 0)]
)
def test_the_answers_are_xgboosts_with_missing_values_too(tmp_path: Path, objective: str, classes: int) -> None:
    rows, signal = table()
    label = np.digitize(signal, np.quantile(signal, np.arange(1, classes) / classes)) if classes else signal * 50 + 900
    options = {"objective": objective, "max_depth": 4, "nthread": 1, **({"num_class": 3} if classes == 3 else {})}
    trained = xgboost.train(options, xgboost.DMatrix(rows, label), num_boost_round=12)
    trained.save_model(tmp_path / "xgboost-model.ubj")
    (tmp_path / "xgboost-model.ubj").rename(tmp_path / "xgboost-model")

    forest = xgboost_trees.forest(xgboost_trees.load(tmp_path / "xgboost-model"), rows[:50])
    tensors.write(tmp_path / "arrays", forest.arrays())
    served = Boosted(Features([], []), Forest.load(tensors.read(tmp_path / "arrays"), forest.depth))
    from preprocess import Inputs

    inputs = Inputs(rows, np.empty((ROWS, 0), dtype=np.int64))
    expected = trained.predict(xgboost.DMatrix(rows))
    if classes == 0:
        assert np.abs(served.numbers(inputs) / expected - 1).max() < 1e-5
        return
    found = served.probabilities(inputs)
    assert found.shape == (ROWS, classes)
    assert np.abs((found[:, 1] if classes == 2 else found) - expected).max() < 1e-5


def test_a_walk_goes_left_below_the_threshold_and_its_own_way_where_a_value_is_missing() -> None:
    # Node 0 asks whether feature 0 is below 1; nodes 1 and 2 are leaves; who lacks the feature goes right.
    forest = Forest(
        roots=np.array([0], np.int32),
        groups=np.array([0], np.int32),
        feature=np.array([0, 0, 0], np.int32),
        threshold=np.array([1, 0, 0], np.float32),
        left=np.array([1, 1, 2], np.int32),
        right=np.array([2, 1, 2], np.int32),
        missing=np.array([2, 1, 2], np.int32),
        value=np.array([0, 10, 20], np.float32),
        base=np.array([0.5], np.float32),
        depth=1,
    )
    rows = np.array([[0.5], [1.0], [np.nan]], np.float32)
    assert forest.margins(rows).tolist() == [[10.5], [20.5], [20.5]]


def test_a_booster_of_another_kind_is_refused() -> None:
    rows, signal = table()
    linear = xgboost.train(
        {"booster": "gblinear", "nthread": 1}, xgboost.DMatrix(np.nan_to_num(rows), signal), num_boost_round=2
    )
    with pytest.raises(xgboost_trees.ModelMismatch, match="of the kind gblinear; only gbtree"):
        xgboost_trees.forest(linear, rows)


def test_arrays_of_another_type_are_refused_by_name(tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}'
    (tmp_path / "file").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="the array w is of F16, not of F32, F64"):
        tensors.read(tmp_path / "file")
