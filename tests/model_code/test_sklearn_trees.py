"""scikit-learn's boosted trees as arrays, and when they are kept."""

from __future__ import annotations

import numpy as np
import pytest

import sklearn_trees
from preprocess import Encoder, Inputs, Numbers, fit

ROWS = 600


def table(seed: int = 3) -> tuple[Encoder, Inputs, np.ndarray]:
    """Three numbers with holes, and a signal that steps where the first two change their signs."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(ROWS, 3))
    signal = 2.0 * (values[:, 0] > 0) + 3.0 * (values[:, 1] > 0)
    values[random.random(values.shape) < 0.05] = np.nan
    columns = [Numbers(values[:, place]) for place in range(3)]
    encoder = Encoder([fit(str(place), column) for place, column in enumerate(columns)])
    return encoder, encoder.encode(columns), signal + random.normal(0, 0.1, ROWS)


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_the_arrays_answer_as_scikit_learn_does_with_missing_values_too(classes: int) -> None:
    _, inputs, signal = table()
    label = np.digitize(signal, np.quantile(signal, np.arange(1, classes) / classes)) if classes else signal
    model = sklearn_trees.fitted(inputs.numbers, label, classes, 12, seed=1)
    found = sklearn_trees.forest(model).margins(inputs.numbers)
    expected = model.decision_function(inputs.numbers) if classes else model.predict(inputs.numbers)
    assert np.abs(found - expected.reshape(found.shape)).max() < 1e-5


def held(folds: int = 3) -> list[np.ndarray]:
    return [np.arange(fold, ROWS, folds) for fold in range(folds)]


def test_trees_are_kept_for_a_table_of_steps_and_count_as_much_as_unseen_rows_say() -> None:
    encoder, inputs, signal = table()
    blurred = np.concatenate([np.full(len(rows), signal.mean()) for rows in held()])
    trees, together = sklearn_trees.learn(inputs, signal, encoder, 0, held(), blurred, 40, seed=1)
    assert trees is not None
    assert trees.weight == pytest.approx(1.0)
    truth = signal[np.concatenate(held())]
    assert np.mean((truth - together) ** 2) < np.mean((truth - blurred) ** 2) / 10


def test_trees_that_save_nothing_are_left_out() -> None:
    encoder, inputs, signal = table()
    truth = signal[np.concatenate(held())]
    trees, together = sklearn_trees.learn(inputs, signal, encoder, 0, held(), truth, 10, seed=1)
    assert trees is None
    assert np.array_equal(together, truth)
