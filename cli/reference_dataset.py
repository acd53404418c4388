"""The reference dataset: 10,000 rows, 20 features (15 informative, 5 redundant), 2 classes, seed 42.

Split 7000/1500/1500 into train.csv, validation.csv and test.csv without a header, the label first, which is the
convention of SageMaker's built-in algorithms (https://docs.aws.amazon.com/sagemaker/latest/dg/cdf-training.html).
Beside them, a job.json that asks for the reference network, which learns it in seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

SPLITS = {"train": 7000, "validation": 1500, "test": 1500}
NETWORK = {
    "network": "mlp"
}  # hyperparameters of job.json; without them the default model learns it in most of a minute


def write(folder: Path) -> list[Path]:
    """Writes the three files, the same bytes each time, and returns their paths: train, validation, test."""
    import numpy as np
    from sklearn.datasets import make_classification

    features, labels = make_classification(
        n_samples=sum(SPLITS.values()),
        n_features=20,
        n_informative=15,
        n_redundant=5,
        n_classes=2,
        random_state=42,
    )
    table = np.column_stack((labels, features))
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    start = 0
    for split, rows in SPLITS.items():
        path = folder / f"{split}.csv"
        np.savetxt(path, table[start : start + rows], delimiter=",", fmt=["%d", *["%.17g"] * features.shape[1]])
        paths.append(path)
        start += rows
    return paths


def write_spec(folder: Path, **hyperparameters: str | int) -> Path:
    """Writes the job.json for the reference network, and returns its path."""
    path = folder / "job.json"
    path.write_text(json.dumps({"hyperparameters": {**NETWORK, **hyperparameters}}))
    return path


def main() -> None:
    """Writes the dataset, and with --bucket uploads it under datasets/<dataset>/, which starts its training."""
    parser = argparse.ArgumentParser(description="Make the reference dataset and upload it.")
    parser.add_argument("--folder", type=Path, help="where to write the files (default: a temporary folder)")
    parser.add_argument("--bucket", help="the data bucket; without it nothing is uploaded")
    parser.add_argument("--dataset", default="reference", help="the dataset's name (default: reference)")
    parser.add_argument("--endpoint-url", help="another AWS endpoint, such as the laptop's http://127.0.0.1:4566")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        data = write(folder)
        paths = [write_spec(folder), *data]  # the newest object's event is the one that counts
        print("\n".join(str(path) for path in paths))
        if options.bucket:
            import boto3

            s3 = boto3.client("s3", endpoint_url=options.endpoint_url)
            for path in paths:
                key = f"datasets/{options.dataset}/{path.name}"
                s3.upload_file(str(path), options.bucket, key)
                print(f"s3://{options.bucket}/{key}")


if __name__ == "__main__":
    main()
