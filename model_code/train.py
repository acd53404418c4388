"""Trains one model under SageMaker's script mode: channel in, artifact out, a metric line per epoch.

Folders and channels come from the SM_* variables of the SageMaker training toolkit
(https://github.com/aws/sagemaker-training-toolkit/blob/master/ENVIRONMENT_VARIABLES.md), whose base folder is /opt/ml
unless SAGEMAKER_BASE_DIR says otherwise. A failure is one sentence in <base>/output/failure, whose first 1,024
characters become the job's FailureReason
(https://docs.aws.amazon.com/sagemaker/latest/dg/your-algorithms-training-algo-output.html).
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import dataset
import distributed
import inference
import metrics
import preprocess
import report
import tensors
from dataset import DataError, Dataset, Layout, Rows
from distributed import Group, Place

if TYPE_CHECKING:
    from learning import Learned


Metrics = dict[str, float | int | None]  # of one split, as metrics.py names them


def _process_age_seconds() -> float:
    """How long ago this process began: the imports above count as well. 0 where there is no /proc."""
    try:
        started_ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - started_ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


STARTED = time.monotonic() - _process_age_seconds()
INTERRUPTED_EXIT_CODE = 143  # as a process that SIGTERM ended
SERVING_FILES = ("dates.py", "inference.py", "metrics.py", "numerals.py", "preprocess.py", "tensors.py", "trees.py")
# Of the numbers: kind, smallest, largest. start-training has the same, in mlplatform/algorithms.py.
LIMITS: dict[str, tuple[type[int] | type[float], float, float]] = {
    "epochs": (int, 1, 10_000),
    "batch_size": (int, 1, 1_000_000),
    "learning_rate": (float, 1e-8, 10),
    "hidden_size": (int, 2, 8_192),
    "dropout": (float, 0, 0.95),
    "weight_decay": (float, 0, 10),
    "patience": (int, 1, 10_000),
    "folds": (int, 1, 100),
    "embedding_size": (int, 1, 1_024),
    "blocks": (int, 1, 16),
    "members": (int, 1, 256),
    "trees": (int, 0, 10_000),
    "seed": (int, 0, 2**31 - 1),
}
HYPERPARAMETERS = ("network", *LIMITS)
LARGEST_LIVE_MODEL_BYTES = 2**30


def say(text: str) -> None:
    """One line of the job's log, at once; of several processes the first speaks, so that no metric is counted twice."""
    if Place.from_environment().first:
        print(text, flush=True)


@dataclass(frozen=True)
class Job:
    """What is trained on what, once the data has been read."""

    options: argparse.Namespace
    layout: Layout
    asked: dict[str, Any]  # hyperparameters
    data: Dataset


class Phases:
    """Where the time goes; printed at the end."""

    def __init__(self) -> None:
        self.last = STARTED
        self.seconds: dict[str, float] = {}

    def end(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = now - self.last
        self.last = now

    def __str__(self) -> str:
        return " ".join(f"{name}_seconds={seconds:.2f}" for name, seconds in self.seconds.items())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DataError(f"A hyperparameter is wrong: {message}.")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The hyperparameters, which the toolkit passes as arguments.

    Raises DataError.
    """
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    channel = os.environ.get("SM_CHANNEL_DATASET", str(base / "input/data/dataset"))
    live = os.environ.get("SM_CHANNEL_LIVE_MODEL", str(base / "input/data/live_model"))
    parser = _Parser(description="Train a model.", allow_abbrev=False)
    parser.add_argument("--label_column", type=int, required=True, help="position of the label, from 0")
    # The toolkit reads hyperparameters as JSON where they are JSON, so that "false" arrives as "False".
    parser.add_argument("--header", type=str.lower, choices=["true", "false"], default="true")
    parser.add_argument("--delimiter", choices=list(dataset.DELIMITERS), default="comma")
    parser.add_argument("--encoding", choices=["utf-8", "utf-16", "latin-1"], default="utf-8")
    parser.add_argument("--task", choices=["binary", "multiclass", "regression"], required=True)
    parser.add_argument("--network", choices=["tabm", "mlp"])
    for name, limits in LIMITS.items():
        parser.add_argument(f"--{name}", type=_number(*limits))
    parser.add_argument("--dataset_dir", type=Path, default=Path(channel))
    parser.add_argument("--live_model_dir", type=Path, default=Path(live))
    parser.add_argument("--model_dir", type=Path, default=Path(os.environ.get("SM_MODEL_DIR", str(base / "model"))))
    checkpoints = os.environ.get("SM_CHECKPOINT_DIR", str(base / "checkpoints"))
    parser.add_argument("--checkpoint_dir", type=Path, default=Path(checkpoints))
    parser.add_argument("--job_name", default=_job_name())
    parser.add_argument("--wishes", type=json.loads, default={}, help="more of these, as a JSON object")
    parser.add_argument("--_tuning_objective_metric", dest="tuned_for", help="SageMaker's, to a tuning job's trial")
    options, unknown = parser.parse_known_args(arguments)
    if options.wishes:  # the names of hyperparameters are fixed in a pipeline's definition, but for what this one holds
        wished = [text for name, value in options.wishes.items() for text in (f"--{name}", str(value))]
        options, unknown = parser.parse_known_args([*arguments, *wished])
    if unknown:
        say(f"Ignoring the arguments {' '.join(unknown)}.")
    if options.tuned_for:
        # A tuning job has one checkpoint prefix, and its trials run at the same time.
        options.checkpoint_dir /= options.job_name
    return options


def _number(kind: type[int] | type[float], low: float, high: float) -> Any:
    def checked(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not from {low:g} to {high:g}")
        return value

    checked.__name__ = "whole number" if kind is int else "number"
    return checked


def _job_name() -> str:
    name = os.environ.get("TRAINING_JOB_NAME")
    if not name:
        name = json.loads(os.environ.get("SM_TRAINING_ENV") or "{}").get("job_name")
    return name or "local"


def read(options: argparse.Namespace) -> tuple[Layout, Dataset]:
    """The channel, as the options say; the same options give the same splits everywhere.

    Raises DataError.
    """
    layout = Layout(
        label_position=options.label_column,
        header=options.header == "true",
        delimiter=options.delimiter,
        encoding=options.encoding,
        task=options.task,
    )
    data = dataset.load(options.dataset_dir, layout, 42 if options.seed is None else options.seed)
    say(
        f"rows_train={len(data.train)} rows_validation={len(data.validation)} rows_test={len(data.test)} "
        f"rows_without_label={data.rows_without_label} columns={len(data.names)}"
    )
    return layout, data


def run(options: argparse.Namespace) -> None:
    """The whole job.

    Raises DataError, and distributed.Interrupted after SIGTERM.
    """
    phases = Phases()
    phases.end("import")
    layout, data = read(options)
    phases.end("data")

    # Threads that wait must not spin: where other processes want the processors too, that makes all of it ten times
    # slower. The library reads this when PyTorch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Imports PyTorch, which takes longer than everything before it; bad data is told without waiting for it. What it
    # loads stays for good: a tenth of that time would go into looking for garbage in it.
    gc.disable()
    import learning  # noqa: F401

    gc.freeze()
    gc.enable()
    phases.end("import_torch")
    asked = {name: value for name in HYPERPARAMETERS if (value := getattr(options, name)) is not None}
    job = Job(options, layout, asked, data)
    place = Place.from_environment()
    curve = report.Curve(say, options.checkpoint_dir if place.first else None)
    with Group(place, _sentence) as group:
        learned = _learn(job, group, curve)
        phases.end("training")
        if not place.first:
            return
        _write_artifact(job, learned)
        phases.end("artifact")
        _report(job, learned, phases)
        _write_card(job, curve)
        phases.end("card")
        say(f"{phases} total_seconds={time.monotonic() - STARTED:.2f}")


def _report(job: Job, learned: Learned, phases: Phases) -> None:
    data, options = job.data, job.options
    judged = _evaluate(data, learned, options)
    phases.end("evaluation")
    judged["training"]["seconds"] = round(time.monotonic() - STARTED, 3)
    write(options.model_dir / "metrics.json", json.dumps(judged, indent=1))
    output = os.environ.get("SM_OUTPUT_DATA_DIR")
    if output:
        write(Path(output) / "metrics.json", json.dumps(judged, indent=1))
    say(_of_the_kept_model(judged["validation"], learned.target["scale"]))
    say(" ".join(f"test_{name}={_shown(value)}" for name, value in judged["test"].items()))
    if judged["live"]:
        say(" ".join(f"live_{name}={_shown(value)}" for name, value in judged["live"].items()))
    elif judged["live_error"]:
        say(f"The live model can't be compared: {judged['live_error']}")


def _of_the_kept_model(validation: dict[str, Any], target_scale: float) -> str:
    """An epoch's metrics once more, of the model that is kept: a tuning job goes by the last that a trial prints."""
    if "rmse" in validation:
        loss, named = (validation["rmse"] / target_scale) ** 2, f"validation_rmse={_shown(validation['rmse'])}"
    else:
        loss, named = validation["log_loss"], f"validation_accuracy={_shown(validation['accuracy'])}"
    return f"validation_loss={_shown(loss)} {named}"


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _learn(job: Job, group: Group, log: Callable[[str], None]) -> Learned:
    import torch

    import learning

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for
    # The same as torch.use_deterministic_algorithms(True), which imports PyTorch's compiler besides: 1 second.
    # On a GPU an operation without a deterministic form is worth a warning, not the job.
    torch.set_deterministic_debug_mode("warn" if torch.cuda.is_available() else "error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    stop = False

    def on_sigterm(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stop
        stop = True

    # SageMaker sends SIGTERM and kills 120 seconds later, on a stop as on a spot interruption
    # (https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_StopTrainingJob.html).
    signal.signal(signal.SIGTERM, on_sigterm)
    return learning.learn(
        job.data,
        job.asked,
        distributed.device_of(group.place),
        checkpoints=job.options.checkpoint_dir,
        fingerprint=_fingerprint(job.options.dataset_dir, job.layout, job.asked),
        should_stop=lambda: stop,
        log=log,
        group=group,
    )


def _fingerprint(folder: Path, layout: Layout, asked: dict[str, Any]) -> str:
    """What a checkpoint must have been made from to be resumed: these files and these hyperparameters."""
    digest = hashlib.sha256(repr((layout, asked)).encode())
    for split, path in sorted(dataset.data_files(folder).items()):
        with path.open("rb") as file:
            digest.update(f"\0{split}\0{hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
    return digest.hexdigest()


def _write_artifact(job: Job, learned: Learned) -> None:
    data, options = job.data, job.options
    folder: Path = options.model_dir
    (folder / "code").mkdir(parents=True, exist_ok=True)
    schema = {
        "format": inference.FORMAT,
        "model_version": options.job_name,
        "task": options.task,
        "classes": data.classes,
        "label": data.label_name,
        "header": options.header == "true",
        "delimiter": dataset.DELIMITERS[options.delimiter],
        "columns": learned.encoder.to_schema(),
        "target": learned.target if data.classes is None else None,
        "temperature": learned.temperature,
        "warnings": learned.warnings,
        "network": {**asdict(learned.settings), "bend": preprocess.BEND},
    }
    weights = {
        f"{fold}/{name}": tensor.cpu().numpy() for fold, of in enumerate(learned.weights) for name, tensor in of.items()
    }
    if learned.trees:
        schema["trees"] = {"depth": learned.trees.forest.depth, "weight": learned.trees.weight}
        weights |= {f"trees/{name}": array for name, array in learned.trees.arrays().items()}
    write(folder / inference.SCHEMA_FILE, json.dumps(schema, ensure_ascii=False))
    tensors.write(folder / inference.WEIGHTS_FILE, weights)
    finish_artifact(folder, data.test)


def finish_artifact(folder: Path, test: Rows) -> inference.Model:
    """Adds the serving code and a sample request with its answer to schema and weights; the model as it will serve."""
    (folder / "code").mkdir(parents=True, exist_ok=True)
    for name in SERVING_FILES:
        shutil.copyfile(Path(__file__).parent / name, folder / "code" / name)
    request = {"features": _cells(test, 3)}
    model = inference.load(folder)
    status, response, _ = inference.answer(model, json.dumps(request).encode())
    assert status == 200, response
    sample = {"request": request, "response": json.loads(response)}
    write(folder / "sample.json", json.dumps(sample, ensure_ascii=False))
    return model


def _cells(rows: Rows, count: int) -> list[list[Any]]:
    """The first rows as a caller would send them."""
    columns: list[list[Any]] = []
    for column in rows.columns:
        if isinstance(column, preprocess.Numbers):
            values = (float(str(value)) for value in column.values[:count])  # as written, also in single precision
            columns.append([None if value != value else value for value in values])  # noqa: PLR0124
        else:
            columns.append([None if code < 0 else column.categories[code] for code in column.codes[:count].tolist()])
    return [list(row) for row in zip(*columns, strict=True)]


def _evaluate(data: Dataset, learned: Learned, options: argparse.Namespace) -> dict[str, Any]:
    """metrics.json. What is judged is the written artifact, through the code that will serve it."""
    model = inference.load(options.model_dir)
    training = {
        "epochs_run": learned.epochs_run,
        "best_epoch": learned.best_epoch,
        "resumed_from_epoch": learned.resumed_from_epoch,
        "settings": asdict(learned.settings),
        "temperature": learned.temperature,
        "trees_weight": learned.trees.weight if learned.trees else 0.0,
    }
    judged = verdict(data, options.task, model, learned.validation, training, options.live_model_dir / "model.tar.gz")
    return judged | {"warnings": learned.warnings}


def verdict(
    data: Dataset, task: str, model: inference.Model, validation: Metrics, training: dict[str, Any], live: Path
) -> dict[str, Any]:
    """metrics.json: the model and the one in the archive `live`, if that is a file, on the same test rows."""
    scored, error = _judge_live(data, task, live)
    return {
        "format": 1,
        "task": task,
        "classes": data.classes,
        "objective": {"name": "rmse", "direction": "minimize"}
        if data.classes is None
        else {"name": "roc_auc", "direction": "maximize"},
        "test": judge(model, data.test, data.classes),
        "validation": validation,
        "live": scored,
        "live_error": error,
        "training": training,
        "data": {
            "rows_train": len(data.train),
            "rows_validation": len(data.validation),
            "rows_test": len(data.test),
            "rows_without_label": data.rows_without_label,
        },
    }


def judge(model: inference.Model, rows: Rows, classes: list[Any] | None) -> Metrics:
    """The model on a split, through the code that will serve it."""
    predicted = predict(model, rows.columns, classes)
    return metrics.of_numbers(rows.label, predicted) if classes is None else metrics.of_classes(rows.label, predicted)


def predict(model: inference.Model, columns: Sequence[preprocess.Column], classes: list[Any] | None) -> report.Floats:
    """Numbers, or rows x `classes` of probabilities."""
    inputs = model.encoder.encode(columns)
    if classes is None:
        return model.numbers(inputs)
    assert model.classes is not None
    order = [model.classes.index(of) for of in classes]
    return model.probabilities(inputs)[:, order]


def _write_card(job: Job, curve: report.Curve) -> None:
    """report.json, for the model's card. A figure that fails costs the card its figures, and not the model."""
    elapsed = time.monotonic() - STARTED
    try:
        model = inference.load(job.options.model_dir)
        found = report.build(
            job.data,
            lambda columns: predict(model, columns, job.data.classes),
            curve=curve.points(),
            seconds=min(10.0, max(0.5, elapsed * 0.08)),
        )
        write(job.options.model_dir / "report.json", report.dump(found))
    except Exception:
        traceback.print_exc()
        say("The model's card will have no figures: they could not be made, for the reason above.")


def _judge_live(data: Dataset, task: str, archive: Path) -> tuple[Metrics | None, str | None]:
    """The live model on the new test rows, or a sentence why it can't be judged; neither when there is none."""
    if not archive.is_file():
        return None, None
    try:
        with tempfile.TemporaryDirectory() as folder:
            extract(archive, Path(folder), {inference.WEIGHTS_FILE, inference.SCHEMA_FILE}, "live model")
            live = inference.load(Path(folder))
        if live.task != task:
            raise DataError(f"The live model's task is {live.task}, the new one's is {task}.")
        if data.classes is not None and sorted(map(str, live.classes or [])) != sorted(map(str, data.classes)):
            raise DataError("The live model knows other classes than the new data has.")
        return judge(live, _as_live_wants(data, live), data.classes), None
    except (DataError, inference.ModelFileError) as error:
        return None, str(error)
    except Exception as error:
        traceback.print_exc()
        return None, f"The live model can't be scored ({type(error).__name__}: {error})."


def extract(archive: Path, folder: Path, wanted: set[str], whose: str, welcome: Set[str] = frozenset()) -> None:
    """Only files that are wanted, by name, as regular files of a bounded size; nothing of it is ever executed.

    Those that are `welcome` may be missing. `whose` says in errors which model's archive it is. Raises DataError.
    """
    left = wanted | welcome
    try:
        with tarfile.open(archive, "r|gz") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if name not in left:
                    continue
                if not member.isreg():
                    raise DataError(f"The {whose}'s {name} is not a regular file.")
                if member.size > LARGEST_LIVE_MODEL_BYTES:
                    raise DataError(f"The {whose}'s {name} is larger than {LARGEST_LIVE_MODEL_BYTES} bytes.")
                source = tar.extractfile(member)
                assert source is not None
                with (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
                left.discard(name)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(f"The {whose}'s archive can't be read ({error}).") from None
    if missing := left & wanted:
        raise DataError(f"The {whose}'s archive lacks {' and '.join(sorted(missing))}.")


def _as_live_wants(data: Dataset, live: inference.Model) -> Rows:
    """The test rows with the live model's columns in its order and kinds.

    Raises DataError when a column is missing or of the other kind.
    """
    places = {name: i for i, name in enumerate(data.names)}
    missing = [name for name in live.names if name not in places]
    if missing:
        raise DataError(f"The live model needs the column {missing[0]!r}, which the new data does not have.")
    columns: list[preprocess.Column] = []
    for encoding in live.encoder.encodings:
        column = data.test.columns[places[encoding.name]]
        if isinstance(encoding, preprocess.Dropped):
            pass
        elif isinstance(column, preprocess.Numbers) != isinstance(encoding, preprocess.NumericEncoding):
            raise DataError(
                f"The column {encoding.name!r} is {encoding.kind} to the live model but not in the new data."
            )
        columns.append(column)
    return Rows(columns, data.test.label)


def write(path: Path, text: str) -> None:
    """The whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def fail(sentence: str) -> NoReturn:
    """Ends the job with one sentence. The toolkit leaves a failure file alone that exists already."""
    base = Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml"))
    try:
        # SageMaker goes on behind it, as in "AlgorithmError: the sentence, exit code: 1".
        write(base / "output" / "failure", sentence.removesuffix("."))
    except OSError as error:
        say(f"Could not write the failure file: {error}")
    print(sentence, file=sys.stderr, flush=True)
    sys.exit(1)


def main(arguments: list[str] | None = None) -> None:
    """The entry point that `sagemaker_program` names."""
    try:
        run(parse(sys.argv[1:] if arguments is None else arguments))
    except DataError as error:
        fail(str(error))
    except distributed.Interrupted as error:
        say(str(error))
        sys.exit(INTERRUPTED_EXIT_CODE)
    except Exception as error:
        if not isinstance(error, distributed.Lost):
            traceback.print_exc()
        fail(_sentence(error))


def _sentence(error: BaseException) -> str:
    """Why the job failed, for FailureReason."""
    if isinstance(error, DataError | distributed.Lost):
        return str(error)
    return f"Training failed with {type(error).__name__}: {' '.join(str(error).split())[:500]}"


if __name__ == "__main__":
    main()
