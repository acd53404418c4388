import json
from pathlib import Path

import numpy as np
import pytest

import train
from cli import reference_dataset
from mlplatform.job_spec import parse_job_spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    reference_dataset.write(folder / "data")
    return folder


def test_the_reference_dataset_has_its_rows_features_and_split(folder: Path) -> None:
    parts = [np.loadtxt(folder / "data" / f"{split}.csv", delimiter=",") for split in ("train", "validation", "test")]
    assert [part.shape for part in parts] == [(7000, 21), (1500, 21), (1500, 21)]
    whole = np.concatenate(parts)
    assert set(whole[:, 0]) == {0.0, 1.0}
    # 5 of the 20 features are combinations of the 15 informative ones.
    assert np.linalg.matrix_rank(whole[:, 1:]) == 15


def test_the_reference_dataset_is_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    for path in reference_dataset.write(tmp_path):
        assert path.read_bytes() == (folder / "data" / path.name).read_bytes()


def test_its_job_json_asks_for_the_reference_network(tmp_path: Path) -> None:
    wishes = parse_job_spec(reference_dataset.write_spec(tmp_path, epochs=3).read_bytes())
    assert wishes.hyperparameters == {"network": "mlp", "epochs": "3"}


def test_the_reference_model_reaches_an_area_of_99_4_percent(folder: Path) -> None:
    options = ["--label_column", "0", "--header", "false", "--task", "binary", "--dataset_dir", str(folder / "data")]
    options += [
        "--network",
        "mlp",
        "--model_dir",
        str(folder / "model"),
        "--checkpoint_dir",
        str(folder / "checkpoints"),
    ]
    train.run(train.parse(options))
    found = json.loads((folder / "model/metrics.json").read_text())
    assert found["test"]["roc_auc"] >= 0.994
    assert found["classes"] == [0, 1]
