"""The pipelines' steps one after another: prepare.py, the built-in XGBoost, evaluate.py, and what then serves.

The built-in algorithm is the laptop's, which trains with the xgboost package as AWS's image does.
"""

from __future__ import annotations

import ast
import json
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost

import evaluate
import inference
import prepare
import prepared
import preprocess
import tensors
import train
import trees
import xgboost_trees
from dataset import DataError
from laptop import xgboost_container
from mlplatform import algorithms
from mlplatform.facts import Task

MODEL_CODE = Path(train.__file__).parent
TOWNS = [f"town {number}" for number in range(40)]
LABELS = {"binary": ["no", "yes"], "multiclass": ["a", "b", "c"], "regression": []}


def write_drop(folder: Path, task: str, rows: int = 400) -> None:
    """Two numbers with holes, a colour of three, a town of forty, and a label that depends on all."""
    random = np.random.default_rng(5)
    size, weight = random.normal(50, 10, rows), random.normal(0, 1, rows)
    colour, town = random.integers(0, 3, rows), random.integers(0, len(TOWNS), rows)
    score = (size - 50) / 10 + weight + np.where(colour == 0, 2, -1) + (town % 5 - 2) * 0.5
    lines = ["size,weight,colour,town,label"]
    edges = {"binary": [0.0], "multiclass": [-1.0, 1.0]}.get(task)
    for i in range(rows):
        label = LABELS[task][int(np.digitize(score[i], edges))] if edges else f"{1000 + 50 * score[i]:.3f}"
        shown = "" if i % 10 == 0 else f"{size[i]:.4f}"
        place = "" if i % 17 == 0 else TOWNS[town[i]]
        lines.append(f"{shown},{weight[i]:.4f},{['red', 'green', 'blue'][colour[i]]},{place},{label}")
    folder.mkdir(parents=True)
    (folder / "drop.csv").write_text("\n".join(lines) + "\n")


def train_xgboost(base: Path, processing: Path, task: str, rounds: int) -> None:
    """What TrainXgboost does with the output of prepare.py; its artifact lands among the inputs of evaluate.py."""
    classes = json.loads((processing / "output/prepared/summary.json").read_text())["classes"]
    wishes = {"num_round": str(rounds), "max_depth": "3", "eta": "0.3"}
    given = algorithms.xgboost_hyperparameters(Task(task), wishes)
    if task == "multiclass":
        given["num_class"] = str(classes)
    for split in ("train", "validation"):
        shutil.copytree(processing / "output" / split, base / "input/data" / split)
    config = {split: {"ContentType": "text/csv"} for split in ("train", "validation")}
    for folder in ("input/config", "model"):
        (base / folder).mkdir(parents=True)
    (base / "input/config/hyperparameters.json").write_text(json.dumps(given))
    (base / "input/config/inputdataconfig.json").write_text(json.dumps(config))
    xgboost_container.train(base)
    pack(base / "model", processing / "input/xgboost")


def pack(model: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    with tarfile.open(folder / "model.tar.gz", "w:gz") as tar:
        for path in model.iterdir():
            tar.add(path, path.name)


def prepare_here(base: Path, task: str) -> Path:
    """A run of prepare.py whose output lies where evaluate.py looks for it; the folder that is /opt/ml/processing."""
    processing = base / "processing"
    write_drop(processing / "input/dataset", task)
    prepare.run(processing, ["--label_column", "4", "--task", task])
    shutil.copytree(processing / "output/prepared", processing / "input/prepared")
    return processing


def evaluate_here(processing: Path, *more: str) -> tuple[dict[str, Any], inference.Model, Path]:
    """evaluation.json, the model that serves, and the unpacked artifact."""
    evaluate.run(processing, ["--model_version", "run-1", *more])
    artifact = processing / "unpacked"
    with tarfile.open(processing / "output/model/model.tar.gz") as tar:
        tar.extractall(artifact, filter="data")
    document = json.loads((processing / "output/evaluation/evaluation.json").read_text())
    assert json.loads((artifact / "metrics.json").read_text()) == document
    return document, inference.load(artifact), artifact


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def processing(task: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp(task)
    processing = prepare_here(base, task)
    train_xgboost(base / "job", processing, task, rounds=12)
    return processing


def test_the_csv_is_what_built_in_algorithms_take(processing: Path, task: str) -> None:
    summary = json.loads((processing / "output/prepared/summary.json").read_text())
    lines = (processing / "output/train/train.csv").read_text().splitlines()
    assert len(lines) == summary["rows_train"] == 280
    assert summary["columns"] == 4
    assert summary["classes"] == len(LABELS[task])
    widths = {line.count(",") for line in lines}
    assert len(widths) == 1
    cells = [line.split(",") for line in lines]
    assert all(cell == "" or float(cell) == float(cell) for row in cells for cell in row), "numbers or nothing"
    assert not any(row[0] == "" for row in cells), "every row has its label first"
    if LABELS[task]:
        assert {row[0] for row in cells} == {str(place) for place in range(len(LABELS[task]))}
    assert len((processing / "output/validation/validation.csv").read_text().splitlines()) == 60


def test_the_artifact_answers_by_the_contract_as_xgboost_does(processing: Path, task: str) -> None:
    document, model, artifact = evaluate_here(processing)
    assert {path.name for path in artifact.iterdir()} == {
        "code", "metrics.json", "model.safetensors", "report.json", "sample.json", "schema.json",
    }  # fmt: skip
    assert {path.name for path in (artifact / "code").iterdir()} == set(train.SERVING_FILES)
    assert document["algorithm"] == "xgboost"
    assert document["choice"] is None
    assert document["warnings"] == []
    assert document["condition"]["score"] > 0.75
    assert document["test"]["rows"] == 60
    assert document["live"] is None

    # The same rows through XGBoost itself, from the features that prepare.py has written for validation.
    schema = json.loads((processing / "input/prepared/schema.json").read_text())
    data, _ = prepared.load(processing / "input/prepared")
    encoder = preprocess.Encoder.from_schema(schema["columns"])
    inputs = encoder.encode(data.validation.columns)
    seen = trees.Features.load(tensors.read(processing / "input/prepared" / prepared.TABLES_FILE), encoder).of(inputs)
    with tarfile.open(processing / "input/xgboost/model.tar.gz") as tar:
        tar.extract("xgboost-model", processing, filter="data")
    expected = xgboost_trees.load(processing / "xgboost-model").predict(xgboost.DMatrix(seen, missing=np.nan))
    if task == "regression":
        assert np.abs(model.numbers(inputs) / expected - 1).max() < 1e-5
    else:
        found = model.probabilities(inputs)
        assert np.abs((found[:, 1] if task == "binary" else found) - expected).max() < 1e-5

    # A row as people send it: classes as they stood, a missing number, a town that training never saw.
    high = {"size": None, "weight": 2.5, "colour": "red", "town": "Atlantis"}
    rows = {"records": [high, {"size": 35, "weight": -2, "colour": "blue"}]}
    status, body, _ = inference.answer(model, json.dumps(rows).encode())
    answer = json.loads(body)
    assert status == 200
    assert answer["model_version"] == "run-1"
    if task == "regression":
        assert answer["predictions"][0] > 1000 > answer["predictions"][1]
    else:
        assert answer["classes"] == LABELS[task]
        assert answer["predictions"] == [LABELS[task][-1], LABELS[task][0]]


def test_a_rare_category_does_not_tell_the_label_of_its_own_row() -> None:
    # 30 rows of noise, each with a category of its own: what trees learn from it must be worth nothing.
    label = np.random.default_rng(1).integers(0, 2, 30)
    encoder = preprocess.Encoder([preprocess.CategoricalEncoding("id", [f"id {n}" for n in range(30)])])
    codes = np.arange(30)[:, None] + 2 + encoder.offsets[0]
    inputs = preprocess.Inputs(np.empty((30, 0), dtype=np.float32), codes)
    features = prepared.fit_features(inputs, label, encoder, 2)
    own, others = features.of(inputs)[:, 1], prepared.training_features(inputs, label, features, 2, seed=0)[:, 1]
    assert np.corrcoef(own, label)[0, 1] > 0.99, "a category's mean with the row itself gives its label away"
    assert np.corrcoef(others, label)[0, 1] < 0.1


def test_the_dataset_comes_back_as_it_was(tmp_path: Path) -> None:
    processing = prepare_here(tmp_path, "binary")
    _, read = train.read(
        train.parse(["--label_column", "4", "--task", "binary", "--dataset_dir", str(processing / "input/dataset")])
    )
    data, _ = prepared.load(processing / "input/prepared")
    assert (data.names, data.label_name, data.classes) == (read.names, read.label_name, read.classes)
    for before, after in ((read.train, data.train), (read.test, data.test)):
        assert (before.label == after.label).all()
        for one, other in zip(before.columns, after.columns, strict=True):
            if isinstance(one, preprocess.Numbers):
                assert isinstance(other, preprocess.Numbers)
                np.testing.assert_array_equal(one.values, other.values)
            else:
                assert isinstance(other, preprocess.Texts)
                texts = [
                    [column.categories[code] if code >= 0 else None for code in column.codes] for column in (one, other)
                ]
                assert texts[0] == texts[1]


@pytest.fixture
def _restore_sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("_restore_sigterm")
def test_of_two_models_the_better_on_the_validation_rows_is_taken_and_its_cost_said(tmp_path: Path) -> None:
    processing = prepare_here(tmp_path, "binary")
    train_xgboost(tmp_path / "job", processing, "binary", rounds=40)
    arguments = ["--label_column", "4", "--task", "binary", "--epochs", "1", "--job_name", "pytorch-1"]
    arguments += ["--dataset_dir", str(processing / "input/dataset"), "--model_dir", str(tmp_path / "network")]
    arguments += ["--checkpoint_dir", str(tmp_path / "checkpoints"), "--learning_rate", "0.000001", "--trees", "0"]
    train.run(train.parse(arguments))
    pack(tmp_path / "network", processing / "input/pytorch")
    # The live model is the network itself, so that it is scored on the test rows as well.
    shutil.copytree(processing / "input/pytorch", processing / "input/live_model")
    document, model, _ = evaluate_here(
        *(processing, "--xgboost_seconds", "36", "--xgboost_usd_per_hour", "0.23", "--pytorch_seconds", "90"),
        *("--pytorch_usd_per_hour", "0"),  # what the pipeline says where the price is not known
    )
    assert document["algorithm"] == "xgboost"
    assert model.schema["model"]["kind"] == "trees"
    # 36 seconds at 0.23 USD an hour are 0.0023 USD.
    assert document["candidates"]["xgboost"]["usd"] == 0.0023
    assert document["candidates"]["pytorch"]["usd"] is None
    theirs = document["candidates"]["pytorch"]["validation"]["roc_auc"]
    ours = document["validation"]["roc_auc"]
    assert document["choice"] == (
        f"XGBoost has roc_auc {ours:.4f} on the validation rows, {ours - theirs:.4f} better than PyTorch's "
        f"{theirs:.4f}; XGBoost was billed 36 seconds for 0.0023 USD, PyTorch was billed 90 seconds."
    )
    assert document["live"]["roc_auc"] < document["test"]["roc_auc"]

    # With the network alone, the network is the model, under the pipeline's version.
    (processing / "input/xgboost/model.tar.gz").unlink()
    shutil.rmtree(processing / "unpacked")
    document, model, artifact = evaluate_here(processing)
    assert document["algorithm"] == "pytorch"
    assert model.version == "run-1"
    assert json.loads((artifact / "sample.json").read_text())["response"]["model_version"] == "run-1"

    # Trained on another split it would have seen rows that it is judged on.
    shutil.rmtree(processing / "input/prepared")
    shutil.rmtree(processing / "output/prepared")
    prepare.run(processing, ["--label_column", "4", "--task", "binary", "--seed", "7"])
    shutil.copytree(processing / "output/prepared", processing / "input/prepared")
    with pytest.raises(DataError, match=r"trained on another split\. Give Prepare and TrainPytorch the same seed"):
        evaluate.run(processing, ["--model_version", "run-2"])


def test_a_step_that_fails_leaves_one_sentence_as_its_exit_message(tmp_path: Path) -> None:
    folder = tmp_path / "processing/input/dataset"
    folder.mkdir(parents=True)
    (folder / "drop.csv").write_text("a,label\n1,x\n2,y\n")
    step = subprocess.run(
        [sys.executable, str(MODEL_CODE / "prepare.py"), "--label_column", "1", "--task", "binary"],
        env={"SAGEMAKER_BASE_DIR": str(tmp_path), "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert step.returncode == 1
    message = (tmp_path / "output/message").read_text()
    assert message == "The dataset has 2 usable rows; at least 20 are needed."
    assert message in step.stderr
    with pytest.raises(DataError, match="neither the input xgboost nor the input pytorch has a model"):
        evaluate.run(prepare_here(tmp_path / "other", "binary"), ["--model_version", "run-1"])


def test_the_steps_need_nothing_that_the_xgboost_image_lacks() -> None:
    code = (
        # Names that the image's Python 3.10 lacks; what it has as well, and needs them here, is imported before.
        "import sys, http, numpy, pyarrow.csv, pyarrow.parquet, datetime, enum, hashlib;"
        "del datetime.UTC, enum.StrEnum, hashlib.file_digest; sys.modules['tomllib'] = None;"
        "import prepare, evaluate;"
        "lacking = {'torch', 'safetensors', 'sagemaker_training', 'boto3'};"
        "print(' '.join(sorted(lacking & set(sys.modules)))); print(' '.join(sorted(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=MODEL_CODE, capture_output=True, text=True, check=True)
    found, modules = run.stdout.splitlines()
    assert found == ""
    for path in MODEL_CODE.glob("*.py"):
        if path.stem in modules.split():
            ast.parse(path.read_text(), feature_version=(3, 10))  # the image's Python
