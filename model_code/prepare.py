"""The step Prepare of a pipeline: reads the drop as train.py does, and writes what the built-in XGBoost wants.

Files and arguments: docs/pipeline-steps.md. The CSV is that of built-in algorithms: the label first, no header, numbers
alone, nothing where a value is missing (https://docs.aws.amazon.com/sagemaker/latest/dg/xgboost.html, "Input/Output
Interface").
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

import dataset
import prepared
import preprocess
import tensors
import train
from dataset import DataError


def run(base: Path, arguments: list[str]) -> None:
    """`base` is /opt/ml/processing. Raises DataError."""
    options = train.parse([*arguments, "--dataset_dir", str(base / "input/dataset")])
    _, data = train.read(options)
    seed = 42 if options.seed is None else options.seed
    encoder = preprocess.Encoder(preprocess.fit_all(data.names, data.train.columns))
    classes = len(data.classes or [])
    inputs = encoder.encode(data.train.columns)
    features = prepared.fit_features(inputs, data.train.label, encoder, classes)
    out = base / "output"
    seen = prepared.training_features(inputs, data.train.label, features, classes, seed)
    _write_csv(out / "train/train.csv", data.train.label, seen)
    _write_csv(
        out / "validation/validation.csv",
        data.validation.label,
        features.of(encoder.encode(data.validation.columns)),
    )
    folder = out / "prepared"
    folder.mkdir(parents=True, exist_ok=True)
    schema = {
        "task": options.task,
        "header": options.header == "true",
        "delimiter": dataset.DELIMITERS[options.delimiter],
        "columns": encoder.to_schema(),
    }
    prepared.save(folder, data, schema)
    tensors.write(folder / prepared.TABLES_FILE, features.arrays())
    summary = {
        "rows_train": len(data.train),
        "rows_validation": len(data.validation),
        "rows_test": len(data.test),
        "rows_without_label": data.rows_without_label,
        "columns": len(data.names),
        "classes": classes,
    }
    (folder / "summary.json").write_text(json.dumps(summary))


def _write_csv(path: Path, label: NDArray[Any], features: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # NaN becomes null, which is written as nothing.
    columns = [pa.array(label), *(pa.array(np.ascontiguousarray(of), from_pandas=True) for of in features.T)]
    table = pa.table(columns, names=[str(place) for place in range(len(columns))])
    pa_csv.write_csv(table, path, pa_csv.WriteOptions(include_header=False, quoting_style="none"))


def fail(base: Path, sentence: str) -> NoReturn:
    """Ends a step with one sentence, which DescribeProcessingJob tells as ExitMessage."""
    train.write(base.parent / "output/message", sentence)
    print(sentence, file=sys.stderr, flush=True)
    sys.exit(1)


def base_folder() -> Path:
    """/opt/ml/processing, unless SAGEMAKER_BASE_DIR says that /opt/ml lies elsewhere."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "processing"


def main() -> None:
    """The container's entry point."""
    base = base_folder()
    try:
        run(base, sys.argv[1:])
    except DataError as error:
        fail(base, str(error))
    except Exception as error:
        traceback.print_exc()
        fail(base, f"Preparing the data failed with {type(error).__name__}: {' '.join(str(error).split())[:500]}")


if __name__ == "__main__":
    main()
