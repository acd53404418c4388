"""What the built-in XGBoost's container runs when SageMaker starts it: a program of its own.

The image's algorithm mode (https://github.com/aws/sagemaker-xgboost-container, algorithm_mode/train.py) around the same
library: hyperparameters and channels are checked before anything is read, every round prints its metrics, the model is
written by `Booster.save_model` as `xgboost-model`, and a failure is one sentence in output/failure. It takes CSV in
File mode, one machine and the hyperparameters of trees. Three things differ:

- The log line has `#011` where the image prints a tab, because that is what CloudWatch shows and SageMaker's metric
  definitions look for.
- Text in a CSV file is refused with its line. The image's reader takes it for a missing value, silently.
- A job that was interrupted goes on from its last checkpoint, as the developer guide promises
  (https://docs.aws.amazon.com/sagemaker/latest/dg/model-managed-spot-training.html); in the image's published source
  only some releases do, and others begin again. The model is the same.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import xgboost

CHECKPOINT = "xgboost-checkpoint"
CHECKPOINTS_KEPT = 5
MAXIMIZED = {"auc", "aucpr", "map", "ndcg"}
METRICS = MAXIMIZED | {
    "error", "gamma-deviance", "gamma-nloglik", "logloss", "mae", "mape", "merror", "mlogloss", "mphe",
    "poisson-nloglik", "rmse", "rmsle", "tweedie-nloglik",
}  # fmt: skip


class UserError(Exception):
    """What the caller got wrong."""


def _number(
    kind: type[int] | type[float], least: float, most: float = float("inf"), above: bool = False
) -> Callable[[str], Any]:
    """A number within limits; `above` excludes the least itself."""

    def read(text: str) -> Any:
        value = kind(text)
        if not least <= value <= most or (above and value == least):
            raise UserError(f"{text} is not in {'(' if above else '['}{least:g}, {most:g}]")
        return value

    return read


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise UserError(f"{text} is not in {list(allowed)}")
        return text

    return read


def _metrics(text: str) -> list[str]:
    for name in text.split(","):
        if name.partition("@")[0] not in METRICS:
            raise UserError(f"value {[name]} not in range {sorted(METRICS)}")
    return text.split(",")


# algorithm_mode/hyperparameter_validation.py, as far as it concerns trees
HYPERPARAMETERS: Mapping[str, Callable[[str], Any]] = {
    "num_round": _number(int, 1),
    "early_stopping_rounds": _number(int, 1),
    "booster": _one_of("gbtree"),
    "verbosity": _number(int, 0, 3),
    "nthread": _number(int, 1),
    "eta": _number(float, 0, 1),
    "gamma": _number(float, 0),
    "max_depth": _number(int, 0),
    "min_child_weight": _number(float, 0),
    "max_delta_step": _number(float, 0),
    "subsample": _number(float, 0, 1, above=True),
    "colsample_bytree": _number(float, 0, 1, above=True),
    "colsample_bylevel": _number(float, 0, 1, above=True),
    "colsample_bynode": _number(float, 0, 1, above=True),
    "lambda": _number(float, 0),
    "alpha": _number(float, 0),
    "tree_method": _one_of("auto", "exact", "approx", "hist"),
    "scale_pos_weight": _number(float, 0, above=True),
    "grow_policy": _one_of("depthwise", "lossguide"),
    "max_leaves": _number(int, 0),
    "max_bin": _number(int, 0),
    "objective": _one_of(
        "binary:logistic", "binary:logitraw", "binary:hinge", "count:poisson", "multi:softmax", "multi:softprob",
        "reg:squarederror", "reg:logistic", "reg:gamma", "reg:pseudohubererror", "reg:squaredlogerror", "reg:tweedie",
    ),
    "num_class": _number(int, 2),
    "base_score": _number(float, 0),
    "eval_metric": _metrics,
    "seed": _number(int, -(2**31) + 1, 2**31 - 2),
    "num_parallel_tree": _number(int, 1),
    "save_model_on_termination": _one_of("true", "false"),
}  # fmt: skip


def hyperparameters(given: Mapping[str, str]) -> dict[str, Any]:
    """Raises UserError for what the image refuses, in its words."""
    if "num_round" not in given:
        raise UserError("Missing required hyperparameter: num_round")
    read: dict[str, Any] = {}
    for name, text in given.items():
        if name not in HYPERPARAMETERS:
            raise UserError(f"Extraneous hyperparameter found: {name}")
        try:
            read[name] = HYPERPARAMETERS[name](text)
        except ValueError:
            raise UserError(f"Hyperparameter {name}: could not parse value") from None
        except UserError as error:
            raise UserError(f"Hyperparameter {name}: {error}") from None
    if str(read.get("objective", "")).startswith("multi:") and "num_class" not in read:
        raise UserError("Require input for parameter 'num_class' for multi-classification")
    return read


def channels(config: Mapping[str, Mapping[str, str]]) -> None:
    """Raises UserError for channels that the image, or this program, does not take."""
    if "train" not in config:
        raise UserError("Missing required channel: train")
    for name, channel in config.items():
        if name not in ("train", "validation"):
            raise UserError(f"Extraneous channel found: {name}")
        # Without a content type the image expects libsvm.
        kind = channel.get("ContentType", "text/libsvm").partition(";")[0].strip().lower()
        if kind not in ("csv", "text/csv"):
            raise UserError(f"{kind} is not an accepted ContentType: csv, text/csv (others need AWS).")


def matrix(base: Path, name: str) -> xgboost.DMatrix:
    """The label-first, header-free CSV files of a channel. Raises UserError."""
    folder = base / "input/data" / name
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] not in "._")
    if not files:
        raise UserError(f"No data in {'training' if name == 'train' else name} channel path {folder}")
    parts = [_table(path) for path in files]
    if len({part.shape[1] for part in parts}) > 1:
        raise UserError(f"The files of the channel {name} have different numbers of columns")
    rows = np.concatenate(parts)
    return xgboost.DMatrix(rows[:, 1:], rows[:, 0], missing=np.nan)


def _table(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    first = path.open().readline()
    columns = [str(number) for number in range(first.count(",") + 1)]
    if len(columns) < 2:
        raise UserError(f"Could not determine delimiter on line {first[:50]}:")
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(column_names=columns),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.float32()), null_values=[""], strings_can_be_null=True
            ),
        )
    except pa.ArrowInvalid as error:
        raise UserError(f"Failed to load csv data with exception:\n{path.name}: {error}") from None
    return np.column_stack([column.to_numpy() for column in table.columns])


class Report(xgboost.callback.TrainingCallback):
    """Prints each round's metrics, and keeps the last checkpoints."""

    def __init__(self, checkpoints: Path | None, done: int) -> None:
        super().__init__()
        self._checkpoints, self._done = checkpoints, done

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Called by xgboost; False lets training go on."""
        number = self._done + epoch
        metrics = [
            f"#011{split}-{metric}:{values[-1]:.5f}"
            for split, of_split in evals_log.items()
            for metric, values in of_split.items()
        ]
        print(f"[{number}]{''.join(metrics)}", flush=True)
        if self._checkpoints:
            _save(model, self._checkpoints / f"{CHECKPOINT}.{number}")
            (self._checkpoints / f"{CHECKPOINT}.{number - CHECKPOINTS_KEPT}").unlink(missing_ok=True)
        return False


def _save(model: Any, path: Path) -> None:
    """By xgboost's own writer, in its default format; whole or not at all."""
    draft = path.with_name(f".{path.name}.sagemaker-ignore")
    draft.write_bytes(model.save_raw("ubj"))
    draft.rename(path)


def _latest(folder: Path | None) -> Path | None:
    found = [path for path in folder.iterdir() if re.fullmatch(rf"{CHECKPOINT}\.\d+", path.name)] if folder else []
    return max(found, key=lambda path: int(path.suffix[1:]), default=None)


def train(base: Path) -> None:
    """The whole job. Raises UserError."""
    config = base / "input/config"
    options = hyperparameters(json.loads((config / "hyperparameters.json").read_text()))
    found = json.loads((config / "inputdataconfig.json").read_text())
    channels(found)
    rows = matrix(base, "train")
    print(f"INFO:root:Train matrix has {rows.num_row()} rows and {rows.num_col()} columns", flush=True)
    watched = [(rows, "train")]
    if "validation" in found:
        watched.append((matrix(base, "validation"), "validation"))
        print(f"INFO:root:Validation matrix has {watched[1][0].num_row()} rows", flush=True)
    checkpoint_config = config / "checkpointconfig.json"
    checkpoints = None
    if checkpoint_config.exists():
        path = json.loads(checkpoint_config.read_text()).get("LocalPath", "/opt/ml/checkpoints")
        checkpoints = base / path.removeprefix("/opt/ml/")
    latest = _latest(checkpoints)
    done = int(latest.suffix[1:]) + 1 if latest else 0
    earlier = None
    if latest:
        print(f"INFO:root:Checkpoint loaded from {latest}\nINFO:root:Resuming from iteration {done}", flush=True)
        earlier = xgboost.Booster()
        earlier.load_model(bytearray(latest.read_bytes()))
    callbacks: list[Any] = [Report(checkpoints, done)]
    rounds, patience = options.pop("num_round"), options.pop("early_stopping_rounds", None)
    options.pop("save_model_on_termination", None)
    metrics = options.get("eval_metric")
    if patience and metrics and len(watched) == 2:
        callbacks.append(
            xgboost.callback.EarlyStopping(
                rounds=patience,
                data_name="validation",
                metric_name=metrics[-1],
                maximize=metrics[-1] in MAXIMIZED,
                save_best=True,
            )
        )
    try:
        model = xgboost.train(
            options,
            rows,
            num_boost_round=max(0, rounds - done),
            evals=watched,
            xgb_model=earlier,
            callbacks=callbacks,
            verbose_eval=False,
        )
    except xgboost.core.XGBoostError as error:
        raise UserError(f"XGB train call failed with exception:\n {error}") from None
    _save(model, base / "model/xgboost-model")


if __name__ == "__main__":
    # Everything is loaded; the instance's data may still be on its way. An end without a word means there is no job.
    if not sys.stdin.buffer.readline():
        sys.exit(1)
    here = Path(os.environ["SAGEMAKER_BASE_DIR"])
    try:
        train(here)
    except UserError as error:
        (here / "output/failure").write_text(str(error))
        print(f"ERROR:root:{error}", file=sys.stderr, flush=True)
        sys.exit(1)
