"""How good predictions are, in NumPy. Every figure that the platform's gate compares is computed here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SMALLEST_PROBABILITY = 1e-15
# Equal rows may get log-odds that differ by the rounding of single precision, according to where in a matrix they lie;
# such a difference must count as a tie, not as a right or wrong order.
_LOG_ODDS_DECIMALS = 5


def accuracy(labels: Integers, probabilities: Floats) -> float:
    """The share of rows whose most probable class is the right one; a tie goes to the first class."""
    return float(np.mean(np.argmax(probabilities, axis=1) == labels))


def log_loss(labels: Integers, probabilities: Floats) -> float:
    """Mean negative natural logarithm of the right class's probability, which is kept at or above 1e-15."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(right, _SMALLEST_PROBABILITY))))


def roc_auc(labels: Integers, probabilities: Floats) -> float | None:
    """Two classes: the area for the second class. More: the unweighted mean of each class against the rest.

    Classes that the labels lack, or that are the only one there, have no area and are left out; None if all are.
    """
    classes = range(1, 2) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = [area for of in classes if (area := _area(labels == of, _log_odds(probabilities, of))) is not None]
    return float(np.mean(areas)) if areas else None


def _log_odds(probabilities: Floats, of: int) -> Floats:
    for_it = np.maximum(probabilities[:, of], 1e-300)
    against_it = np.maximum(np.delete(probabilities, of, axis=1).sum(axis=1), 1e-300)
    odds: Floats = np.log(for_it) - np.log(against_it)
    return odds.round(_LOG_ODDS_DECIMALS)


def _area(positive: NDArray[np.bool_], scores: Floats) -> float | None:
    """The chance that a positive row scores above a negative one, ties counting half (Mann and Whitney's U)."""
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return None
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    last_rank = np.cumsum(count)
    mean_rank = last_rank - (count - 1) / 2
    rank_sum = float(mean_rank[place][positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def rmse(truth: Floats, predicted: Floats) -> float:
    """Root of the mean squared error, in the label's unit."""
    return float(np.sqrt(np.mean((truth - predicted) ** 2)))


def mae(truth: Floats, predicted: Floats) -> float:
    """Mean absolute error, in the label's unit."""
    return float(np.mean(np.abs(truth - predicted)))


def r2(truth: Floats, predicted: Floats) -> float:
    """The share of the label's variance that is explained; 0 for a constant label that is not met exactly, else 1."""
    left = float(np.sum((truth - predicted) ** 2))
    total = float(np.sum((truth - truth.mean()) ** 2))
    if total == 0:
        return 1.0 if left == 0 else 0.0
    return 1 - left / total


def calibrated(probabilities: Floats, temperature: float) -> Floats:
    """Temperature scaling (https://arxiv.org/abs/1706.04599): log-probabilities divided by `temperature`."""
    if temperature == 1:
        return probabilities
    powers: Floats = np.maximum(probabilities, 1e-30) ** (1 / temperature)
    powers /= powers.sum(axis=1, keepdims=True)
    return powers


def brier(labels: Integers, probabilities: Floats) -> float:
    """Mean squared distance of the probabilities from the truth: from 0 to 1 for two classes, where only the second
    class's probability counts, as Brier's score is usually given, and to 2 for more."""
    right = np.zeros_like(probabilities)
    right[np.arange(len(labels)), labels] = 1
    squares = ((probabilities - right) ** 2).sum(axis=1)
    return float(squares.mean()) / (2 if probabilities.shape[1] == 2 else 1)


def calibration_error(labels: Integers, probabilities: Floats, bins: int = 10) -> float:
    """Expected calibration error (Guo et al., https://arxiv.org/abs/1706.04599): how far, on average over the rows, the
    probability of the likeliest class is from the share of rows where it is right, in bins of as many rows each."""
    sure = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    order = np.argsort(sure, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(sure[part].sum() - right[part].sum()) for part in parts) / len(labels))


def of_classes(labels: Integers, probabilities: Floats) -> dict[str, float | int | None]:
    """What metrics.json says of a split with classes."""
    return {
        "rows": len(labels),
        "accuracy": accuracy(labels, probabilities),
        "roc_auc": roc_auc(labels, probabilities),
        "log_loss": log_loss(labels, probabilities),
        "brier": brier(labels, probabilities),
        "calibration_error": calibration_error(labels, probabilities),
    }


def of_numbers(truth: Floats, predicted: Floats) -> dict[str, float | int | None]:
    """What metrics.json says of a split with numbers."""
    return {
        "rows": len(truth),
        "rmse": rmse(truth, predicted),
        "mae": mae(truth, predicted),
        "r2": r2(truth, predicted),
    }
