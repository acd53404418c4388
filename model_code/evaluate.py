"""The step Evaluate of a pipeline: judges what was trained on the same rows, takes the better, and packs one artifact.

Files and arguments: docs/pipeline-steps.md. The artifact is laid out as train.py's, so that registry, gate, model card
and endpoint take it as any other.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tarfile
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import inference
import leakage
import prepare
import prepared
import preprocess
import report
import tensors
import train
import trees
import xgboost_trees
from dataset import DataError, Dataset
from train import Metrics

MODEL_FILE = "xgboost-model"  # what the built-in algorithm leaves
_SPOKEN = {"xgboost": "XGBoost", "pytorch": "PyTorch"}
COMPARED_ROWS = 1000  # on which the converted trees must answer as XGBoost does
_SAME = 1e-3  # of a metric computed twice, on two kinds of machine


@dataclass(frozen=True)
class Candidate:
    """A trained model, unpacked, and how it did on the validation rows."""

    algorithm: str
    folder: Path
    validation: Metrics
    training: dict[str, Any]
    warnings: list[leakage.Warned]  # what makes its score doubtful, see leakage.py
    seconds: int | None  # billable
    usd: float | None


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DataError(f"An argument is wrong: {message}.")


def parse(arguments: list[str]) -> argparse.Namespace:
    """Raises DataError."""
    parser = _Parser(description="Judge what was trained.", allow_abbrev=False)
    parser.add_argument("--model_version", required=True)
    for algorithm in ("xgboost", "pytorch"):
        parser.add_argument(f"--{algorithm}_seconds", type=int)
        parser.add_argument(f"--{algorithm}_usd_per_hour", type=float)
    return parser.parse_args(arguments)


def run(base: Path, arguments: list[str]) -> None:
    """`base` is /opt/ml/processing. Raises DataError."""
    options = parse(arguments)
    data, schema = prepared.load(base / "input/prepared")
    with tempfile.TemporaryDirectory() as scratch:
        candidates = []
        for algorithm in ("xgboost", "pytorch"):
            archive = base / "input" / algorithm / "model.tar.gz"
            if archive.is_file():
                folder = Path(scratch) / algorithm
                folder.mkdir()
                candidates.append(
                    _unpack_xgboost(archive, folder, data, schema, options, base / "input/prepared")
                    if algorithm == "xgboost"
                    else _unpack_pytorch(archive, folder, data, options)
                )
        if not candidates:
            raise DataError("No model was trained: neither the input xgboost nor the input pytorch has a model.tar.gz.")
        taken, choice = choose(candidates)
        _finish(taken, choice, candidates, data, schema["task"], base)


def _unpack_xgboost(
    archive: Path, folder: Path, data: Dataset, schema: dict[str, Any], options: argparse.Namespace, read_from: Path
) -> Candidate:
    """The booster as schema and weights that inference.py serves."""
    train.extract(archive, folder, {MODEL_FILE}, "XGBoost model")
    loaded = xgboost_trees.load(folder / MODEL_FILE)
    (folder / MODEL_FILE).unlink()
    encoder = preprocess.Encoder.from_schema(schema["columns"])
    features = trees.Features.load(tensors.read(read_from / prepared.TABLES_FILE), encoder)
    some = [preprocess.take(column, np.arange(min(COMPARED_ROWS, len(data.test)))) for column in data.test.columns]
    try:
        forest = xgboost_trees.forest(loaded, features.of(encoder.encode(some)))
    except xgboost_trees.ModelMismatch as error:
        raise DataError(str(error)) from None
    tensors.write(folder / inference.WEIGHTS_FILE, forest.arrays() | features.arrays())
    warnings = leakage.warnings(data.train, data.label_name, len(data.classes or []), encoder)
    written = {
        "format": inference.FORMAT,
        "model_version": options.model_version,
        "task": schema["task"],
        "classes": data.classes,
        "label": data.label_name,
        "header": schema["header"],
        "delimiter": schema["delimiter"],
        "columns": schema["columns"],
        "target": None,
        "warnings": warnings,
        "model": {"kind": trees.KIND, "depth": forest.depth},
    }
    train.write(folder / inference.SCHEMA_FILE, json.dumps(written, ensure_ascii=False))
    rounds = loaded.num_boosted_rounds()
    validation = train.judge(inference.load(folder), data.validation, data.classes)
    return _candidate("xgboost", folder, validation, {"rounds": rounds}, warnings, options)


def _unpack_pytorch(archive: Path, folder: Path, data: Dataset, options: argparse.Namespace) -> Candidate:
    """As it is, but for its version. What it says of the validation rows is taken: a small table's folds know best."""
    files = {inference.SCHEMA_FILE, inference.WEIGHTS_FILE, "metrics.json"}
    train.extract(archive, folder, files, "PyTorch model", welcome={"report.json"})
    written = json.loads((folder / inference.SCHEMA_FILE).read_text(encoding="utf-8"))
    written["model_version"] = options.model_version
    train.write(folder / inference.SCHEMA_FILE, json.dumps(written, ensure_ascii=False))
    said = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    found = train.judge(inference.load(folder), data.test, data.classes)
    # Another split would have let it learn the rows that it is judged on.
    for name, value in found.items():
        told = said["test"].get(name)
        if value is not None and (told is None or not math.isclose(value, told, rel_tol=_SAME, abs_tol=_SAME)):
            raise DataError(
                f"The PyTorch model has {name} {value} on the test rows where it says {told}: it was trained on "
                "another split. Give Prepare and TrainPytorch the same seed."
            )
    return _candidate("pytorch", folder, said["validation"], said["training"], said.get("warnings", []), options)


def _candidate(
    algorithm: str,
    folder: Path,
    validation: Metrics,
    training: dict[str, Any],
    warnings: list[leakage.Warned],
    options: argparse.Namespace,
) -> Candidate:
    seconds = getattr(options, f"{algorithm}_seconds")
    usd_per_hour = getattr(options, f"{algorithm}_usd_per_hour") or None  # a definition can't leave out an unknown one
    usd = None if seconds is None or usd_per_hour is None else round(seconds * usd_per_hour / 3600, 6)
    return Candidate(algorithm, folder, validation, training, warnings, seconds, usd)


def choose(candidates: list[Candidate]) -> tuple[Candidate, str | None]:
    """The better one on the validation rows, and by how much and at what cost; a tie goes to the cheaper one."""
    if len(candidates) == 1:
        return candidates[0], None
    name, sign = _compared(candidates)
    ranked = sorted(
        candidates,
        key=lambda one: (-sign * _value(one, name), math.inf if one.usd is None else one.usd, one.algorithm),
    )
    best, other = ranked
    ahead = sign * (_value(best, name) - _value(other, name))
    how = f"{ahead:.4f} better than" if ahead > 0 else "the same as"
    return best, (
        f"{_SPOKEN[best.algorithm]} has {name} {_value(best, name):.4f} on the validation rows, {how} "
        f"{_SPOKEN[other.algorithm]}'s "
        f"{_value(other, name):.4f}; {_cost(best)}, {_cost(other)}."
    )


def _compared(candidates: list[Candidate]) -> tuple[str, int]:
    """The metric that all have of the gate's objective, or of the loss; and 1 where more is better, else -1."""
    for name, sign in (("roc_auc", 1), ("rmse", -1), ("log_loss", -1)):
        if all(_value(one, name) == _value(one, name) for one in candidates):
            return name, sign
    raise DataError("The models can't be compared: they have no metric of the validation rows in common.")


def _value(candidate: Candidate, name: str) -> float:
    value = candidate.validation.get(name)
    return math.nan if value is None else float(value)


def _cost(candidate: Candidate) -> str:
    if candidate.seconds is None:
        return f"what {_SPOKEN[candidate.algorithm]} cost was not said"
    price = "" if candidate.usd is None else f" for {candidate.usd:.4f} USD"
    unit = "second" if candidate.seconds == 1 else "seconds"
    return f"{_SPOKEN[candidate.algorithm]} was billed {candidate.seconds} {unit}{price}"


def _finish(
    taken: Candidate, choice: str | None, candidates: list[Candidate], data: Dataset, task: str, base: Path
) -> None:
    folder = taken.folder
    model = train.finish_artifact(folder, data.test)
    live = base / "input/live_model/model.tar.gz"
    document = train.verdict(data, task, model, taken.validation, taken.training, live)
    score, chance = ("r2", 0.0) if data.classes is None else ("roc_auc", 0.5)
    found = document["test"][score]
    document |= {
        "warnings": taken.warnings,
        "algorithm": taken.algorithm,
        "choice": choice,
        "candidates": {
            one.algorithm: {"validation": one.validation, "seconds": one.seconds, "usd": one.usd} for one in candidates
        },
        # A model that can't be scored is worse than any: a condition compares numbers.
        "condition": {"score": -1.0 if found is None or not math.isfinite(found) else found, "chance": chance},
    }
    text = json.dumps(document, indent=1)
    train.write(folder / "metrics.json", text)
    if not (folder / "report.json").exists():
        _write_report(folder, model, data)
    train.write(base / "output/evaluation/evaluation.json", text)
    target = base / "output/model/model.tar.gz"
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w:gz", compresslevel=6) as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    train.say(" ".join(f"test_{name}={value}" for name, value in document["test"].items()))
    if choice:
        train.say(choice)


def _write_report(folder: Path, model: inference.Model, data: Dataset) -> None:
    """report.json, for the model's card. A figure that fails costs the card its figures, and not the model."""
    elapsed = time.monotonic() - train.STARTED
    try:
        found = report.build(
            data, lambda columns: train.predict(model, columns, data.classes), seconds=min(10.0, max(0.4, elapsed))
        )
        train.write(folder / "report.json", report.dump(found))
    except Exception:
        traceback.print_exc()
        train.say("The model's card will have no figures: they could not be made, for the reason above.")


def main() -> None:
    """The container's entry point."""
    base = prepare.base_folder()
    try:
        run(base, sys.argv[1:])
    except DataError as error:
        prepare.fail(base, str(error))
    except Exception as error:
        traceback.print_exc()
        prepare.fail(base, f"Judging failed with {type(error).__name__}: {' '.join(str(error).split())[:500]}")


if __name__ == "__main__":
    main()
