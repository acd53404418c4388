"""From a dataset to a model: the encoding, the settings that suit the table's size, the networks, their calibration.

A small table is learnt in folds: each of several networks leaves another part of the rows out, ends its training by
their loss, and the mean of all answers. Every row then teaches, and no lucky split decides. A larger table has one
network and one validation split.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import fitting
import leakage
import metrics
import network
import preprocess
import sklearn_trees
from dataset import Dataset, Rows
from distributed import ALONE, Group
from network import Settings, Shape, Tensors

FOLDS = 5
FOLDED_ROWS = 3000  # of training and validation together; up to here folds fit into the time
MULTIPLICATIONS = 3.3e11  # in all of a training's forward passes: about half a minute on two cores
FOLDED_MULTIPLICATIONS = 1.8e11  # small batches keep one core busy
MOST_COLUMNS_FOR_TREES = 1000
SURE_GAIN = 2.0  # log-likelihood that a temperature must gain to be kept; chance alone gives 1.92 once in 20 times


@dataclass(frozen=True)
class Learned:
    """The artifact's content, and how it came about."""

    encoder: preprocess.Encoder
    warnings: list[leakage.Warned]
    target: dict[str, float]  # mean and scale of a regression's label
    settings: Settings
    weights: list[dict[str, Tensor]]  # of one network, or of one for each fold
    trees: sklearn_trees.Trees | None
    temperature: float
    validation: dict[str, float | int | None]  # on rows that the answering network did not learn from
    epochs_run: int
    best_epoch: int | None  # of one network
    resumed_from_epoch: int | None


def settled(asked: Mapping[str, Any], rows: int, columns: int) -> Settings:
    """What is asked for by name, and the rest by the table's size: `rows` to learn from, `columns` of features."""
    name = asked.get("network", "tabm")
    if name == "mlp":
        usual = Settings(
            network=name,
            epochs=60,
            batch_size=_power_of_two(rows / 64, 16, 4096),
            learning_rate=0.002,
            hidden_size=128,
            dropout=0.2,
            weight_decay=1e-4,
            patience=10,
        )
    else:
        embedding = max(1, min(8, 320 // max(1, columns)))
        hidden, blocks = 128, 2
        folds = FOLDS if rows <= FOLDED_ROWS else 1
        members = 8 if folds > 1 else 16 if rows <= 100_000 else 8 if rows <= 1_000_000 else 4
        a_row = members * (columns * embedding * hidden + hidden * hidden * (blocks - 1))
        affordable = (FOLDED_MULTIPLICATIONS if folds > 1 else MULTIPLICATIONS) / (rows * max(1, folds - 1) * a_row)
        usual = Settings(
            network=name,
            epochs=int(max(min(12, 3e6 / rows), 2, min(100, affordable))),
            batch_size=_power_of_two(rows / 32, 32, 256) if rows <= 50_000 else _power_of_two(rows / 200, 256, 4096),
            learning_rate=0.002,
            hidden_size=hidden,
            embedding_size=embedding,
            blocks=blocks,
            members=members,
            dropout=0.1,
            weight_decay=3e-4,
            patience=16,
            folds=folds,
            trees=200 if columns <= MOST_COLUMNS_FOR_TREES else 0,
        )
    return replace(usual, **asked)


def _power_of_two(wanted: float, low: int, high: int) -> int:
    return max(low, min(high, 1 << max(0, round(math.log2(max(wanted, 1))))))


def learn(
    data: Dataset,
    asked: Mapping[str, Any],
    device: torch.device,
    *,
    checkpoints: Path,
    fingerprint: str,
    should_stop: Callable[[], bool],
    log: Callable[[str], None],
    group: Group = ALONE,
) -> Learned:
    """Trains, from the checkpoints if there are some that fit.

    Raises distributed.Interrupted.
    """
    settings = settled(asked, len(data.train) + len(data.validation), len(data.names))
    classes, folded = data.classes is not None, settings.folds > 1
    train = _joined(data.train, data.validation) if folded else data.train
    encoder = preprocess.Encoder(preprocess.fit_all(data.names, train.columns))
    warnings = _warned(data, train, encoder, log)
    target = _target(train, classes)
    torch.set_num_threads(_threads(settings))
    splits: Iterator[tuple[Tensors, Tensors]]
    if folded:
        held = held_out(train.label, settings.folds, settings.seed)
        splits = _folds(_tensors(train, encoder, target, classes, device), held, group, log)
    else:
        held = []
        share = train[group.share(len(train))] if group.size > 1 else train
        judges = _tensors(data.validation, encoder, target, classes, device)
        splits = iter([(_tensors(share, encoder, target, classes, device), judges)])
    shape = _shape(data, encoder)
    fitted: list[fitting.Fitted] = []
    answers: list[NDArray[np.float64]] = []
    for fold, (learns, judges) in enumerate(splits):
        one = fitting.fit(
            learns,
            judges,
            shape,
            settings,
            classes=classes,
            target_scale=target["scale"],
            earlier_epochs=sum(earlier.epochs_run for earlier in fitted),
            checkpoints=checkpoints / f"fold-{fold}" if folded else checkpoints,
            fingerprint=fingerprint,
            should_stop=should_stop,
            log=log,
            group=group,
            precision=fitting.fast_precision(device),
        )
        twin = network.build(shape, settings).to(device)
        twin.load_state_dict(one.weights)
        fitted.append(one)
        answers.append(network.predict(twin, judges, classes).double().cpu().numpy())
    predicted, trees = np.concatenate(answers), None
    if settings.trees and group.place.first:
        log("Boosted trees learn from the same rows.")
        whole, unseen = (train, held) if folded else _for_trees(data, settings)
        trees, predicted = sklearn_trees.learn(
            encoder.encode(whole.columns),
            _standardised(whole, target, classes),
            encoder,
            len(data.classes or ()),
            unseen,
            predicted,
            settings.trees,
            settings.seed,
        )
        log(f"Trees count {trees.weight:.0%} of each answer." if trees else "Trees would not make it better.")
    if folded:
        predicted = predicted[np.argsort(np.concatenate(held))]  # as the rows stand
    temperature, validation = _judged(train.label if folded else data.validation.label, predicted, target, classes)
    resumed = [one.resumed_from_epoch for one in fitted if one.resumed_from_epoch is not None]
    return Learned(
        encoder,
        warnings,
        target,
        settings,
        [one.weights for one in fitted],
        trees,
        temperature,
        validation,
        epochs_run=sum(one.epochs_run for one in fitted),
        best_epoch=fitted[0].best_epoch if not folded else None,
        resumed_from_epoch=max(resumed) if resumed else None,
    )


def _shape(data: Dataset, encoder: preprocess.Encoder) -> Shape:
    return Shape(
        encoder.knots(),
        [encoding.missing for encoding in encoder.numbers],
        encoder.codes,
        len(encoder.categorical),
        len(data.classes) if data.classes is not None else 1,
    )


def _for_trees(data: Dataset, settings: Settings) -> tuple[Rows, list[NDArray[np.int64]]]:
    """What trees learn from beside one network, with the rows that judge: those of the validation."""
    some = _some(data.train, sklearn_trees.ROWS, settings.seed)
    whole = _joined(some, data.validation)
    return whole, [np.arange(len(some), len(whole))]


def _judged(
    label: NDArray[Any], predicted: NDArray[np.float64], target: dict[str, float], classes: bool
) -> tuple[float, dict[str, float | int | None]]:
    """The temperature that suits what was predicted, and how good that is then."""
    if not classes:
        return 1.0, metrics.of_numbers(label, predicted * target["scale"] + target["mean"])
    temperature = fitted_temperature(label, predicted)
    return temperature, metrics.of_classes(label, metrics.calibrated(predicted, temperature))


def _warned(
    data: Dataset, train: Rows, encoder: preprocess.Encoder, log: Callable[[str], None]
) -> list[leakage.Warned]:
    """What a person should know of the columns; said in the log, too, with the columns that are left out."""
    for encoding in encoder.encodings:
        if isinstance(encoding, preprocess.Dropped):
            log(f"The column {encoding.name!r} is left out because {encoding.reason}.")
    warnings = leakage.warnings(train, data.label_name, len(data.classes or []), encoder)
    for warning in warnings:
        log(f"Warning: {warning['message']}")
    return warnings


def _target(train: Rows, classes: bool) -> dict[str, float]:
    """What standardises a regression's label: its mean and its scale, which is never 0."""
    if classes:
        return {"mean": 0.0, "scale": 1.0}
    scale = float(train.label.std())
    return {"mean": float(train.label.mean()), "scale": scale if scale > 0 else 1.0}


def _standardised(rows: Rows, target: dict[str, float], classes: bool) -> NDArray[Any]:
    """The labels as they are learnt: a regression's with mean 0 and scale 1, classes as they are."""
    return rows.label if classes else (rows.label - target["mean"]) / target["scale"]


def _folds(
    everything: Tensors, held: list[NDArray[np.int64]], group: Group, log: Callable[[str], None]
) -> Iterator[tuple[Tensors, Tensors]]:
    """Of each fold this process's share of the rows to learn from, and the rows left out."""
    for fold, left_out in enumerate(held):
        learns = np.setdiff1d(np.arange(len(everything)), left_out)
        log(f"Fold {fold + 1} of {len(held)}: {len(learns)} rows to learn from, {len(left_out)} left out.")
        yield _chosen(everything, learns[group.share(len(learns))]), _chosen(everything, left_out)


def _joined(first: Rows, second: Rows) -> Rows:
    """The rows of both, whose text columns may number their categories differently."""
    columns: list[preprocess.Column] = []
    for one, other in zip(first.columns, second.columns, strict=True):
        if isinstance(one, preprocess.Numbers):
            assert isinstance(other, preprocess.Numbers)
            columns.append(preprocess.Numbers(np.concatenate((one.values, other.values)), one.spelling))
            continue
        assert isinstance(other, preprocess.Texts)
        places = {text: place for place, text in enumerate(one.categories)}
        for text in other.categories:
            places.setdefault(text, len(places))
        table = np.array([*(places[text] for text in other.categories), -1], dtype=np.int64)
        columns.append(preprocess.Texts(np.concatenate((one.codes, table[other.codes])), list(places)))
    return Rows(columns, np.concatenate((first.label, second.label)))


def _some(rows: Rows, most: int, seed: int) -> Rows:
    """So many of the rows, which are copied only then."""
    return (
        rows if len(rows) <= most else rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]
    )


def held_out(label: NDArray[Any], count: int, seed: int) -> list[NDArray[np.int64]]:
    """The rows that each fold leaves out, of each class (or height of the number) alike."""
    order = np.random.default_rng(seed).permutation(len(label))
    # Neighbours in the label's order go to different folds.
    order = order[np.argsort(label[order], kind="stable")]
    return [np.sort(order[fold::count]) for fold in range(count)]


def _tensors(
    rows: Rows, encoder: preprocess.Encoder, target: dict[str, float], classes: bool, device: torch.device
) -> Tensors:
    inputs = encoder.encode(rows.columns)
    label = _standardised(rows, target, classes)
    label = label if classes else label.astype(np.float32)
    return Tensors(*(torch.from_numpy(part).to(device) for part in (inputs.numbers, inputs.codes, label)))


def _chosen(split: Tensors, rows: NDArray[np.int64]) -> Tensors:
    places = torch.from_numpy(rows).to(split.label.device)
    return Tensors(split.numbers[places], split.codes[places], split.label[places])


def _threads(settings: Settings) -> int:
    """Handing small matrices to several threads costs more than multiplying them: measured slower up to this size."""
    products = settings.hidden_size * settings.batch_size * max(1, settings.members)
    cores = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    # The reference network's largest batches lie at the limit, and its layers are too small to gain from threads, which
    # took ten times as long where they had to wait for one another on a busy machine.
    limit = 2**19 if settings.network == "tabm" else 2**20
    return 1 if products < limit else min(8, cores)


def fitted_temperature(label: NDArray[np.int64], probabilities: NDArray[np.float64]) -> float:
    """The temperature with the least log loss, between a quarter and 4; 1 unless another one is clearly better."""

    def loss(logarithm: float) -> float:
        return metrics.log_loss(label, metrics.calibrated(probabilities, math.exp(logarithm))) * len(label)

    low, high = -math.log(4), math.log(4)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(40):  # golden-section search: the loss has one valley
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    best = (low + high) / 2
    return math.exp(best) if loss(0.0) - loss(best) > SURE_GAIN else 1.0
