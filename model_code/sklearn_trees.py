"""Gradient-boosted trees beside the network: scikit-learn's HistGradientBoosting as the arrays that trees.py serves.

AWS's PyTorch training container has scikit-learn (github.com/aws/deep-learning-containers,
pytorch/training/docker/2.6/py3/Dockerfile.cpu, "Install extra packages"), so that nothing is fetched for it.

A network draws smooth borders, trees draw steps along single columns; some tables need the one, some the other, and
many are answered best by a mean of both. How much the trees count is what the rows say that neither learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import metrics
import prepared
from preprocess import Encoder, Inputs
from trees import Features, Forest

MOST_TREES = 1000  # in all: each round has one for each class, if there are more than two
ROWS = 1_000_000  # of a table that the trees are best given; more make them slower, hardly better
LEARNING_RATE = 0.1
MOST_DEPTH = 10  # a row's way down takes a step a level: 31 leaves in a line would double the time of an answer
STEP = 0.1  # of the trees' weight
WORTH = 0.01  # of the loss that trees must save to be kept: they make an answer take longer


@dataclass(frozen=True)
class Trees:
    """What the trees add: their answer counts `weight`, the network's the rest."""

    features: Features
    forest: Forest
    weight: float

    def arrays(self) -> dict[str, NDArray[Any]]:
        return self.features.arrays() | self.forest.arrays()


def learn(
    inputs: Inputs,
    label: NDArray[Any],
    encoder: Encoder,
    classes: int,
    held: Sequence[NDArray[np.int64]],
    answered: NDArray[np.float64],
    rounds: int,
    seed: int,
) -> tuple[Trees | None, NDArray[np.float64]]:
    """Trees learnt from all rows, if they are worth it, and what network and trees answer together.

    `label` is class positions, or the standardised number, where `classes` is 0. `held` are the rows that each fold
    leaves out; `answered` is what the networks answer for all of those, in their order.
    """
    features = prepared.fit_features(inputs, label, encoder, classes)
    seen = prepared.training_features(inputs, label, features, classes, seed)
    if not seen.shape[1]:
        return None, answered
    everything = np.arange(len(label))
    if classes > 2:
        rounds = min(rounds, max(1, MOST_TREES // classes))
    found, best_rounds = [], []
    for rows in held:
        others = np.setdiff1d(everything, rows)
        model = fitted(seen[others], label[others], classes, rounds, seed)
        least, best = np.inf, (0, answered)
        for number, answer in enumerate(_stages(model, seen[rows], classes), 1):
            loss = _loss(label[rows], answer, classes)
            if loss < least:
                least, best = loss, (number, answer)
        best_rounds.append(best[0])
        found.append(best[1])
    truth, trees_answer = label[np.concatenate(held)], np.concatenate(found)
    weights = np.arange(0, 1 + STEP / 2, STEP)
    losses = [_loss(truth, (1 - weight) * answered + weight * trees_answer, classes) for weight in weights]
    weight = float(weights[np.argmin(losses)])
    if min(losses) >= losses[0] * (1 - WORTH):
        return None, answered
    # All rows teach the trees that serve; how many rounds are enough is known by now.
    final = fitted(seen, label, classes, round(float(np.mean(best_rounds))), seed)
    if classes and len(final.classes_) != classes:
        return None, answered
    return Trees(features, forest(final), weight), (1 - weight) * answered + weight * trees_answer


def fitted(rows: NDArray[np.float32], label: NDArray[Any], classes: int, rounds: int, seed: int) -> Any:
    """The model of the given rows; `classes` is 0 for a number."""
    # Takes a second, which a job for the fast network need not spend.
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return kind(
        learning_rate=LEARNING_RATE, max_iter=rounds, max_depth=MOST_DEPTH, early_stopping=False, random_state=seed
    ).fit(rows, label)  # fmt: skip


def _stages(model: Any, rows: NDArray[np.float32], classes: int) -> Iterator[NDArray[np.float64]]:
    """What the model answers after each round: rows x classes of probabilities, or a number per row."""
    if not classes:
        yield from model.staged_predict(rows)
        return
    for known in model.staged_predict_proba(rows):
        # A class that none of the model's rows had is unknown to it.
        answered = np.zeros((len(rows), classes))
        answered[:, model.classes_] = known
        yield answered


def _loss(truth: NDArray[Any], answered: NDArray[np.float64], classes: int) -> float:
    return metrics.log_loss(truth, answered) if classes else float(np.mean((truth - answered) ** 2))


def forest(model: Any) -> Forest:
    """A fitted HistGradientBoosting as arrays.

    Its nodes are what scikit-learn calls PREDICTOR_RECORD_DTYPE
    (https://github.com/scikit-learn/scikit-learn, sklearn/ensemble/_hist_gradient_boosting/common.pyx).
    """
    parts: dict[str, list[NDArray[Any]]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "missing", "value")
    }
    roots, groups = [], []
    depth = start = 0
    for of_round in model._predictors:
        for group, tree in enumerate(of_round):
            nodes = tree.nodes
            leaf = nodes["is_leaf"].astype(bool)
            own = np.arange(len(nodes))
            left = np.where(leaf, own, nodes["left"]) + start
            right = np.where(leaf, own, nodes["right"]) + start
            parts["left"].append(left)
            parts["right"].append(right)
            parts["missing"].append(np.where(nodes["missing_go_to_left"].astype(bool), left, right))
            parts["feature"].append(np.where(leaf, 0, nodes["feature_idx"]))
            # There a row goes left at or below the threshold, here below it: the next number up. Rows are in single
            # precision, so the threshold is first rounded down to that.
            bound = np.where(leaf, 0, np.clip(nodes["num_threshold"], -3e38, 3e38))
            single = bound.astype(np.float32)
            single = np.where(single > bound, np.nextafter(single, np.float32(-np.inf)), single)
            parts["threshold"].append(np.nextafter(single, np.float32(np.inf)))
            parts["value"].append(np.where(leaf, nodes["value"], 0))
            roots.append(start)
            groups.append(group)
            depth = max(depth, int(nodes["depth"].max()))
            start += len(nodes)
    kinds = {"threshold": np.float32, "value": np.float32}
    joined: dict[str, Any] = {
        name: np.concatenate(arrays).astype(kinds.get(name, np.int32)) for name, arrays in parts.items()
    }
    return Forest(
        roots=np.array(roots, dtype=np.int32),
        groups=np.array(groups, dtype=np.int32),
        base=np.asarray(model._baseline_prediction, dtype=np.float32).reshape(-1),
        depth=depth,
        **joined,
    )
