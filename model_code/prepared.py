"""What Prepare hands on: the dataset as it stood, split, for the step that judges; and the trees' view of it.

The splits travel as Parquet, a column per feature and the label last, so that nothing is parsed and split twice and
each model gets the columns that its own encoder wants.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataset import Dataset, Rows
from preprocess import Column, Encoder, Inputs, Numbers, Texts
from trees import Features

SCHEMA_FILE = "schema.json"
TABLES_FILE = "tables.safetensors"
SPLITS = ("train", "validation", "test")
FOLDS = 5
MOST_ONE_HOT = 10  # categories of a column that get a feature each
MOST_CLASSES = 10  # with more, a category's mean label per class would be a feature too many
SMOOTHING = 10.0  # rows of the overall mean that each category's mean label begins with


def save(folder: Path, data: Dataset, schema: dict[str, Any]) -> None:
    """`schema` gets what `load` needs besides the columns."""
    facts = {"names": data.names, "rows_without_label": data.rows_without_label, "label": data.label_name}
    text = json.dumps(schema | facts | {"classes": data.classes}, ensure_ascii=False)
    (folder / SCHEMA_FILE).write_text(text, encoding="utf-8")
    for split in SPLITS:
        rows: Rows = getattr(data, split)
        arrays = [_to_arrow(column) for column in rows.columns] + [pa.array(rows.label)]
        pq.write_table(
            pa.table(arrays, names=[str(place) for place in range(len(arrays))]), folder / f"{split}.parquet"
        )


def load(folder: Path) -> tuple[Dataset, dict[str, Any]]:
    """The dataset, and the schema that was saved with it."""
    schema = json.loads((folder / SCHEMA_FILE).read_text(encoding="utf-8"))
    splits = {}
    for split in SPLITS:
        *columns, label = pq.read_table(folder / f"{split}.parquet").columns
        splits[split] = Rows([_from_arrow(column) for column in columns], label.to_numpy())
    data = Dataset(
        names=schema["names"],
        label_name=schema["label"],
        classes=schema["classes"],
        rows_without_label=schema["rows_without_label"],
        **splits,
    )
    return data, schema


def _to_arrow(column: Column) -> Any:
    if isinstance(column, Numbers):
        return pa.array(column.values)
    codes = pa.array(column.codes, pa.int32(), mask=column.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(column.categories, pa.string()))


def _from_arrow(column: Any) -> Column:
    if not pa.types.is_dictionary(column.type):
        return Numbers(column.to_numpy())
    array = column.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], pa.string()).dictionary_encode()
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return Texts(codes, array.dictionary.to_pylist())


# ---- what trees see ----


def fit_features(inputs: Inputs, label: NDArray[Any], encoder: Encoder, classes: int) -> Features:
    """The tables of categories, from the training rows; `classes` is 0 for a number.

    Few categories get a feature each. Many get two kinds: how often a category is, and what its rows' label is on
    average, which draws a rare category towards the average of all.
    """
    targets = _targets(label, classes)
    tables = []
    for place, offset in enumerate(encoder.offsets):
        codes = inputs.codes[:, place] - offset
        size = 2 + len(encoder.categorical[place][1].categories)
        if size - 2 <= MOST_ONE_HOT:
            table = np.eye(size, dtype=np.float32)[:, 2:]  # no feature for what is unknown or missing
        else:
            counts = np.bincount(codes, minlength=size).astype(np.float64)
            means = [_means(codes, target, size, target.mean()) for target in targets]
            table = np.column_stack([counts, *means]).astype(np.float32)
        tables.append(table)
    return Features(tables, encoder.offsets)


def training_features(
    inputs: Inputs, label: NDArray[Any], features: Features, classes: int, seed: int
) -> NDArray[np.float32]:
    """The training rows as trees should see them: a category's mean label is that of other rows.

    With its own label in it, a rare category would give the label away.
    """
    found = features.of(inputs)
    targets = _targets(label, classes)
    folds = np.random.default_rng(seed).permutation(len(label)) % FOLDS
    start = inputs.numbers.shape[1]
    for place, table in enumerate(features.tables):
        size, width = table.shape
        if size - 2 > MOST_ONE_HOT:
            codes = inputs.codes[:, place] - features.offsets[place]
            for number, target in enumerate(targets, start + 1):
                for fold in range(FOLDS):
                    here, others = folds == fold, folds != fold
                    means = _means(codes[others], target[others], size, target[others].mean())
                    found[here, number] = means[codes[here]]
        start += width
    return found


def _targets(label: NDArray[Any], classes: int) -> list[NDArray[np.float64]]:
    """What a category's mean is taken of: the number, the second class, or each of some classes."""
    if classes == 0:
        return [label.astype(np.float64)]
    if classes > MOST_CLASSES:
        return []
    return [(label == of).astype(np.float64) for of in (range(classes) if classes > 2 else [1])]


def _means(codes: NDArray[np.int64], target: NDArray[np.float64], size: int, overall: float) -> NDArray[np.float64]:
    counts = np.bincount(codes, minlength=size)
    sums = np.bincount(codes, target, minlength=size)
    return np.asarray((sums + SMOOTHING * overall) / (counts + SMOOTHING))
