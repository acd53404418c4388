import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import checkpoint
import distributed
import fitting
import inference
import learning
import network
import preprocess
import train

MODEL_CODE = Path(train.__file__).parent


def write_table(path: Path, rows: int = 400, *, classes: int = 2, seed: int = 0, noise: float = 0.3) -> Path:
    """Two numbers with holes, a colour, and a label that depends on all three; `classes` 0 makes it a number."""
    rng = np.random.default_rng(seed)
    size, weight = rng.normal(50, 10, rows), rng.normal(0, 1, rows)
    colour = rng.choice(["red", "green", "blue"], rows)
    score = (size - 50) / 10 + weight + np.where(colour == "red", 2, -1) + rng.normal(0, noise, rows)
    if classes:
        edges = np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1])
        label = [f"class {place}" for place in np.digitize(score, edges)]
    else:
        label = [f"{100 + 20 * value:.4f}" for value in score]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["size", "weight", "colour", "label"])
    for i in range(rows):
        writer.writerow(["" if i % 10 == 0 else f"{size[i]:.5f}", f"{weight[i]:.5f}", colour[i], label[i]])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(out.getvalue())
    return path


def arguments(base: Path, task: str = "binary", **others: Any) -> list[str]:
    given = {
        "label_column": 3,
        "task": task,
        "network": "mlp",
        "epochs": 6,
        "dataset_dir": base / "data",
        "live_model_dir": base / "live",
        "model_dir": base / "model",
        "checkpoint_dir": base / "checkpoints",
        "job_name": "job-1",
        **others,
    }
    return [text for name, value in given.items() for text in (f"--{name}", str(value))]


def train_here(base: Path, task: str = "binary", **others: Any) -> dict[str, Any]:
    train.run(train.parse(arguments(base, task, **others)))
    return json.loads((base / "model/metrics.json").read_text())


def weights(base: Path) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in load_file(base / "model/model.safetensors").items()}


@pytest.fixture(autouse=True)
def _restore_sigterm() -> Any:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished binary job that nobody interrupted."""
    base = tmp_path_factory.mktemp("trained")
    write_table(base / "data/data.csv")
    train_here(base)
    return base


def test_the_artifact_holds_weights_schema_metrics_sample_and_serving_code(trained: Path) -> None:
    files = sorted(
        str(path.relative_to(trained / "model")) for path in (trained / "model").rglob("*") if path.is_file()
    )
    assert files == [
        "code/dates.py",
        "code/inference.py",
        "code/metrics.py",
        "code/numerals.py",
        "code/preprocess.py",
        "code/tensors.py",
        "code/trees.py",
        "metrics.json",
        "model.safetensors",
        "report.json",
        "sample.json",
        "schema.json",
    ]


def test_the_metrics_are_as_the_gate_expects_them(trained: Path) -> None:
    found = json.loads((trained / "model/metrics.json").read_text())
    assert list(found) == [
        "format", "task", "classes", "objective", "test", "validation", "live", "live_error", "training", "data",
        "warnings",
    ]  # fmt: skip
    assert found["objective"] == {"name": "roc_auc", "direction": "maximize"}
    assert found["classes"] == ["class 0", "class 1"]
    assert list(found["test"]) == ["rows", "accuracy", "roc_auc", "log_loss", "brier", "calibration_error"]
    assert found["test"]["rows"] == 60
    assert found["test"]["roc_auc"] > 0.9
    assert found["data"] == {"rows_train": 280, "rows_validation": 60, "rows_test": 60, "rows_without_label": 0}
    assert found["training"]["epochs_run"] == 6
    assert found["training"]["resumed_from_epoch"] is None
    assert found["live"] is None
    assert found["live_error"] is None


def test_the_report_is_about_the_model_and_the_data_that_the_metrics_are_about(trained: Path) -> None:
    found = json.loads((trained / "model/report.json").read_text())
    assert found["rows"] == {"train": 280, "validation": 60, "test": 60, "without_label": 0}
    assert [column["name"] for column in found["columns"]] == ["size", "weight", "colour"]
    assert [point[0] for point in found["training"]["curve"]] == [1, 2, 3, 4, 5, 6]
    assert sum(map(sum, found["confusion"]["counts"])) == 60
    metrics = json.loads((trained / "model/metrics.json").read_text())
    right = sum(row[place] for place, row in enumerate(found["confusion"]["counts"]))
    assert right / 60 == pytest.approx(metrics["test"]["accuracy"])
    assert {column["name"] for column in found["importance"]["columns"]} == {"size", "weight", "colour"}


def test_the_sample_is_answered_as_it_says(trained: Path) -> None:
    sample = json.loads((trained / "model/sample.json").read_text())
    model = inference.load(trained / "model")
    status, body, _ = inference.answer(model, json.dumps(sample["request"]).encode())
    assert status == 200
    assert json.loads(body) == sample["response"]


@pytest.mark.parametrize("name", ["mlp", "tabm"])
@pytest.mark.parametrize("rows", [3, 50])
def test_what_is_served_equals_the_network_that_was_trained(name: str, rows: int) -> None:
    rng = np.random.default_rng(0)

    def column(rows: int) -> preprocess.Numbers:
        return preprocess.Numbers(np.where(rng.random(rows) < 0.2, np.nan, rng.normal(50, 30, rows)))

    whole = preprocess.Numbers(rng.normal(size=300))
    texts = preprocess.Texts(rng.integers(-1, 3, 300), ["red", "blue", "green"])
    constant = preprocess.Numbers(np.ones(300))
    names, columns = ["a", "b", "c", "d"], [column(300), whole, texts, constant]
    encoder = preprocess.Encoder([preprocess.fit(*pair) for pair in zip(names, columns, strict=True)])
    shape = network.Shape(encoder.knots(), [e.missing for e in encoder.numbers], encoder.codes, 1, 3)
    settings = learning.settled(
        {"network": name, "hidden_size": 16, "members": 3} if name == "tabm" else {"network": name}, 300, 4
    )
    torch.manual_seed(1)
    twin = network.build(shape, settings).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    weights = {name: tensor.numpy() for name, tensor in twin.state_dict().items()}
    served = inference.NETWORKS[name]([weights, weights], {**asdict(settings), "bend": preprocess.BEND}, encoder)
    far = preprocess.Numbers(np.resize([0.0, -1e9, 1e300, np.nan, np.inf], rows))
    inputs = encoder.encode([column(rows), far, preprocess.Texts(rng.integers(-1, 3, rows), ["red", "?", "blue"]), far])
    with torch.inference_mode():
        expected = twin(torch.from_numpy(inputs.numbers), torch.from_numpy(inputs.codes)).numpy()
    assert np.isfinite(expected).all()
    assert served.scores(inputs) == pytest.approx(np.concatenate((expected, expected)), abs=1e-4)


def test_serving_imports_nothing_that_a_container_may_lack(trained: Path) -> None:
    code = (
        "import sys, inference, pathlib; inference.load(pathlib.Path(sys.argv[1]));"
        "lacking = {'torch', 'pyarrow', 'safetensors', 'pandas', 'scipy', 'sklearn', 'xgboost'};"
        "sys.exit(' '.join(lacking & set(sys.modules)) or None)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(trained / "model")],
        env={**os.environ, "PYTHONPATH": str(trained / "model/code")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_training_imports_nothing_slow_that_it_does_not_use(tmp_path: Path) -> None:
    write_table(tmp_path / "data/data.csv")
    code = (
        "import sys, train; train.main(sys.argv[1:]);"
        "slow = {'torch._dynamo', 'sympy', 'pandas', 'scipy', 'sklearn', 'xgboost'};"
        "sys.exit(' '.join(slow & set(sys.modules)) or None)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments(tmp_path, epochs=1)],
        env={**os.environ, "PYTHONPATH": str(MODEL_CODE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_several_classes_are_learnt(tmp_path: Path) -> None:
    write_table(tmp_path / "data/data.csv", classes=4)
    found = train_here(tmp_path, "multiclass", epochs=30)
    assert found["test"]["accuracy"] > 0.7
    assert found["test"]["roc_auc"] > 0.9
    assert found["classes"] == ["class 0", "class 1", "class 2", "class 3"]


def test_numbers_are_learnt_in_their_own_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "data/data.csv", classes=0)
    found = train_here(tmp_path, "regression", epochs=40)
    assert found["objective"] == {"name": "rmse", "direction": "minimize"}
    assert list(found["test"]) == ["rows", "rmse", "mae", "r2"]
    assert found["test"]["r2"] > 0.8
    assert found["test"]["rmse"] < 20
    assert "validation_rmse=" in capsys.readouterr().out


def test_each_epoch_prints_one_metric_line_and_the_end_the_test_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path / "data/data.csv", rows=60)
    train_here(tmp_path, epochs=3)
    lines = capsys.readouterr().out.splitlines()
    epochs = [dict(pair.split("=") for pair in line.split()) for line in lines if line.startswith("epoch=")]
    names = ["epoch", "train_loss", "validation_loss", "validation_accuracy", "learning_rate"]
    assert [list(epoch) for epoch in epochs] == [names] * 3
    (end,) = [line for line in lines if line.startswith("test_")]
    assert [pair.split("=")[0] for pair in end.split()] == [
        "test_rows", "test_accuracy", "test_roc_auc", "test_log_loss", "test_brier", "test_calibration_error",
    ]  # fmt: skip


def test_training_ends_when_the_validation_loss_has_stopped_falling_and_keeps_the_best_epoch(tmp_path: Path) -> None:
    write_table(tmp_path / "data/data.csv", noise=3.0)
    found = train_here(tmp_path, epochs=500, patience=4, learning_rate=0.02)
    assert found["training"]["epochs_run"] == found["training"]["best_epoch"] + 4


class Interruptions:
    """Asks to stop at the given batches, counted over the whole run; each once."""

    def __init__(self, *batches: int) -> None:
        self.batches = set(batches)
        self.seen = -1

    def __call__(self) -> bool:
        self.seen += 1
        if self.seen in self.batches:
            self.batches.discard(self.seen)
            self.seen -= 1  # the batch is not trained now and will be asked about again
            return True
        return False


def fit_tensors(
    folder: Path,
    should_stop: Any,
    fingerprint: str = "same",
    name: str = "mlp",
    precision: torch.dtype = torch.float32,
    log: Any = lambda _line: None,
) -> fitting.Fitted:
    generator = torch.Generator().manual_seed(5)
    numbers = torch.randn(300, 4, generator=generator)
    label = (numbers.sum(dim=1) + torch.randn(300, generator=generator) > 0).long()
    codes = torch.randint(0, 3, (300, 1), generator=generator)
    split = network.Tensors(numbers, codes, label)
    asked = {"network": name, "epochs": 5, "batch_size": 64, "hidden_size": 16}
    return fitting.fit(
        split,
        network.Tensors(numbers[:100], codes[:100], label[:100]),
        network.Shape([[-1.0, 0.0, 2.0]] * 4, [False] * 4, 3, 1, 2),
        learning.settled(asked, 300, 5),
        classes=True,
        target_scale=1.0,
        checkpoints=folder,
        fingerprint=fingerprint,
        should_stop=should_stop,
        log=log,
        precision=precision,
    )


@pytest.mark.parametrize("name", ["mlp", "tabm"])
def test_lower_precision_learns_nearly_the_same_into_weights_of_full_precision(name: str, tmp_path: Path) -> None:
    """As on GPUs with bfloat16, whose eight bits of a number's digits change a loss in its third digit."""
    losses: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}

    def keep(precision: torch.dtype) -> Any:
        return lambda line: losses[precision].append(float(line.split("validation_loss=")[1].split()[0]))

    for precision in losses:
        fitted = fit_tensors(
            tmp_path / str(precision), lambda: False, name=name, precision=precision, log=keep(precision)
        )
        assert {tensor.dtype for tensor in fitted.weights.values() if tensor.is_floating_point()} == {torch.float32}
    full, low = losses.values()
    assert low == pytest.approx(full, rel=0.02)
    assert low != full


@pytest.mark.parametrize("name", ["mlp", "tabm"])
@pytest.mark.parametrize("batches", [(0,), (3,), (5,), (12,), (24,), (0, 1, 2, 9, 10, 17, 24)])
def test_a_resumed_run_ends_with_the_same_weights_bit_for_bit(
    batches: tuple[int, ...], name: str, tmp_path: Path
) -> None:
    expected = fit_tensors(tmp_path / "whole", lambda: False, name=name)
    interruptions = Interruptions(*batches)
    for _ in batches:
        with pytest.raises(distributed.Interrupted):
            fit_tensors(tmp_path / "parts", interruptions, name=name)
        torch.manual_seed(999)  # a new process would not have the old one's random state
    found = fit_tensors(tmp_path / "parts", interruptions, name=name)
    assert found.best_epoch == expected.best_epoch
    for part, tensor in expected.weights.items():
        assert torch.equal(tensor, found.weights[part]), part
    assert found.resumed_from_epoch == batches[-1] // 5


def test_a_run_that_was_killed_after_its_last_epoch_is_not_trained_further(tmp_path: Path) -> None:
    expected = fit_tensors(tmp_path, lambda: False)
    found = fit_tensors(tmp_path, lambda: True)
    assert found.epochs_run == 5
    assert all(torch.equal(tensor, found.weights[name]) for name, tensor in expected.weights.items())


def test_a_checkpoint_of_other_data_is_not_resumed(tmp_path: Path) -> None:
    fit_tensors(tmp_path, lambda: False)
    assert fit_tensors(tmp_path, lambda: False, fingerprint="other").resumed_from_epoch is None
    assert checkpoint.load(tmp_path, "same") == (
        "The checkpoint is of other data or other hyperparameters; starting afresh."
    )


def test_a_damaged_checkpoint_is_not_resumed(tmp_path: Path) -> None:
    expected = fit_tensors(tmp_path, lambda: False)
    path = tmp_path / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:1000])
    found = fit_tensors(tmp_path, lambda: False)
    assert found.resumed_from_epoch is None
    assert all(torch.equal(tensor, found.weights[name]) for name, tensor in expected.weights.items())


def run_job(base: Path, *extra: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(MODEL_CODE / "train.py"), *arguments(base, epochs=30, patience=100), *extra],
        env={**os.environ, "SAGEMAKER_BASE_DIR": str(base)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_sigterm_saves_and_the_next_start_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    for name in ("whole", "parts"):
        write_table(tmp_path / name / "data/data.csv", rows=4000)
    train_here(tmp_path / "whole", epochs=30, patience=100)
    first = run_job(tmp_path / "parts")
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("epoch=3 "):
            first.send_signal(signal.SIGTERM)
            break
    out, _ = first.communicate(timeout=60)  # SageMaker grants 120 s
    assert first.returncode == train.INTERRUPTED_EXIT_CODE
    assert "Stopped as asked in epoch" in out
    assert not (tmp_path / "parts/model/metrics.json").exists()
    assert not (tmp_path / "parts/output/failure").exists()
    second = run_job(tmp_path / "parts")
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 0
    assert "Resuming after epoch" in out
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
    found = json.loads((tmp_path / "parts/model/metrics.json").read_text())
    assert found["training"]["resumed_from_epoch"] >= 3
    assert found["test"] == json.loads((tmp_path / "whole/model/metrics.json").read_text())["test"]


def test_data_that_can_not_be_trained_on_ends_the_job_with_one_sentence(tmp_path: Path) -> None:
    path = write_table(tmp_path / "data/data.csv")
    path.write_text(path.read_text() + "1,2,red\n")
    job = run_job(tmp_path)
    _, errors = job.communicate(timeout=60)
    sentence = "Line 402 of data.csv has 3 columns where 4 are expected."
    assert job.returncode == 1
    assert (tmp_path / "output/failure").read_text() == sentence.removesuffix(".")  # SageMaker goes on with a comma
    assert errors.splitlines()[-1] == sentence


def test_a_wrong_hyperparameter_ends_the_job_with_one_sentence(tmp_path: Path) -> None:
    write_table(tmp_path / "data/data.csv")
    job = run_job(tmp_path, "--dropout", "2")
    job.communicate(timeout=60)
    assert job.returncode == 1
    assert (tmp_path / "output/failure").read_text() == (
        "A hyperparameter is wrong: argument --dropout: 2 is not from 0 to 0.95"
    )


def test_hyperparameters_may_be_spelled_as_the_toolkit_passes_them(tmp_path: Path) -> None:
    assert train.parse([*arguments(tmp_path), "--header", "False"]).header == "false"
    assert train.parse([*arguments(tmp_path), "--sagemaker_thing", "1"]).task == "binary"


# ---- The live model -----------------------------------------------------------------------------------


def pack(model: Path, archive: Path) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(model, arcname=".")


def test_the_live_model_is_scored_on_the_new_test_rows(trained: Path, tmp_path: Path) -> None:
    pack(trained / "model", tmp_path / "live/model.tar.gz")
    write_table(tmp_path / "data/data.csv")  # the same table, so the same test rows as the live model was judged on
    found = train_here(tmp_path, epochs=1)
    assert found["live"] == json.loads((trained / "model/metrics.json").read_text())["test"]
    assert found["live_error"] is None
    assert found["test"] != found["live"]


def test_a_live_model_of_other_columns_is_told_apart(trained: Path, tmp_path: Path) -> None:
    pack(trained / "model", tmp_path / "live/model.tar.gz")
    path = write_table(tmp_path / "data/data.csv")
    path.write_text(path.read_text().replace("weight", "mass", 1))
    found = train_here(tmp_path, epochs=1)
    assert found["live"] is None
    assert found["live_error"] == "The live model needs the column 'weight', which the new data does not have."


def test_a_live_model_of_another_task_is_told_apart(trained: Path, tmp_path: Path) -> None:
    pack(trained / "model", tmp_path / "live/model.tar.gz")
    write_table(tmp_path / "data/data.csv", classes=0)
    found = train_here(tmp_path, "regression", epochs=1)
    assert found["live_error"] == "The live model's task is binary, the new one's is regression."


def test_a_live_model_of_another_format_is_told_apart(trained: Path, tmp_path: Path) -> None:
    schema = json.loads((trained / "model/schema.json").read_text())
    model = tmp_path / "old"
    model.mkdir()
    (model / "schema.json").write_text(json.dumps({**schema, "format": 99}))
    (model / "model.safetensors").write_bytes((trained / "model/model.safetensors").read_bytes())
    pack(model, tmp_path / "live/model.tar.gz")
    write_table(tmp_path / "data/data.csv")
    found = train_here(tmp_path, epochs=1)
    assert found["live_error"] == "The model has format 99; this code reads format 2."


def test_an_archive_can_not_reach_outside_its_folder(tmp_path: Path) -> None:
    archive = tmp_path / "live/model.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("../escaped", "/tmp/escaped", "schema.json/../../escaped"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"bad"))
        link = tarfile.TarInfo("schema.json")
        link.type = tarfile.SYMTYPE
        link.linkname = "/etc/passwd"
        tar.addfile(link)
    write_table(tmp_path / "data/data.csv")
    found = train_here(tmp_path, epochs=1)
    assert found["live_error"] == "The live model's schema.json is not a regular file."
    assert not list(tmp_path.rglob("escaped"))


def test_a_damaged_archive_does_not_fail_the_job(tmp_path: Path) -> None:
    (tmp_path / "live").mkdir()
    (tmp_path / "live/model.tar.gz").write_bytes(b"\x1f\x8b not really")
    write_table(tmp_path / "data/data.csv")
    found = train_here(tmp_path, epochs=1)
    assert found["live"] is None
    assert found["live_error"].startswith("The live model's archive can't be read")


def test_the_optimizer_moves_parameters_as_pytorchs_own_does() -> None:
    networks = []
    for _ in range(2):
        torch.manual_seed(1)
        networks.append(network.Mlp(network.Shape([[0.0]] * 4, [False] * 4, 0, 0, 2), 8, dropout=0.0))
    ours, theirs = networks
    our_optimizer = fitting.AdamW(ours, learning_rate=0.01, weight_decay=0.1)
    their_optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1)
    no_codes = torch.empty(32, 0, dtype=torch.int64)
    for _ in range(20):
        rows = torch.randn(32, 4)
        (ours(rows, no_codes) ** 2).mean().backward()
        our_optimizer.step()
        their_optimizer.zero_grad()
        (theirs(rows, no_codes) ** 2).mean().backward()
        their_optimizer.step()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-6)
