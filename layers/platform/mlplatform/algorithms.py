"""The algorithms that train, and the hyperparameters that each of them takes.

XGBoost's are those of SageMaker's built-in algorithm, under its own names and within its own limits, which are in
algorithm_mode/hyperparameter_validation.py of github.com/aws/sagemaker-xgboost-container and explained on
https://docs.aws.amazon.com/sagemaker/latest/dg/xgboost_hyperparameters.html. It refuses all else. Its metrics are
predefined (https://docs.aws.amazon.com/sagemaker/latest/dg/xgboost-tuning.html): a job must not define any.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlplatform.facts import Task
from mlplatform.records import dataclass

PYTORCH, XGBOOST, AUTO = "pytorch", "xgboost", "auto"
ALGORITHMS = (PYTORCH, XGBOOST, AUTO)


@dataclass(frozen=True)
class Limits:
    """What a hyperparameter may be."""

    whole: bool
    smallest: float
    largest: float


_SEED = Limits(True, 0, 2**31 - 2)  # that of the narrower of the two
# Those of model_code/train.py, which a test compares.
_PYTORCH: Mapping[str, Limits] = {
    "epochs": Limits(True, 1, 10_000),
    "batch_size": Limits(True, 1, 1_000_000),
    "learning_rate": Limits(False, 1e-8, 10),
    "hidden_size": Limits(True, 2, 8_192),
    "dropout": Limits(False, 0, 0.95),
    "weight_decay": Limits(False, 0, 10),
    "patience": Limits(True, 1, 10_000),
    "folds": Limits(True, 1, 100),
    "embedding_size": Limits(True, 1, 1_024),
    "blocks": Limits(True, 1, 16),
    "members": Limits(True, 1, 256),
    "trees": Limits(True, 0, 10_000),
    "seed": Limits(True, 0, 2**31 - 1),
}
# Where the algorithm has no upper limit, one that no model of use goes beyond.
_XGBOOST: Mapping[str, Limits] = {
    "num_round": Limits(True, 1, 100_000),
    "early_stopping_rounds": Limits(True, 1, 100_000),
    "eta": Limits(False, 0, 1),
    "max_depth": Limits(True, 1, 32),  # the algorithm's 0, no limit, needs a policy that is not offered here
    "min_child_weight": Limits(False, 0, 1_000_000),
    "subsample": Limits(False, 0.001, 1),
    "colsample_bytree": Limits(False, 0.001, 1),
    "gamma": Limits(False, 0, 1_000_000),
    "lambda": Limits(False, 0, 1_000_000),
    "alpha": Limits(False, 0, 1_000_000),
    "max_bin": Limits(True, 2, 65_536),
    "seed": _SEED,
}
# With both no hyperparameter means the same to both, but the seed, which also splits the rows.
HYPERPARAMETERS: Mapping[str, Mapping[str, Limits]] = {
    PYTORCH: _PYTORCH,
    XGBOOST: _XGBOOST,
    AUTO: {"seed": _SEED},
}

# Small steps with early stopping, and rows and columns sampled: what boosting is usually tuned towards.
_XGBOOST_DEFAULTS: Mapping[str, str] = {
    "num_round": "1000",
    "early_stopping_rounds": "50",
    "eta": "0.05",
    "max_depth": "6",
    "min_child_weight": "1",
    "subsample": "0.8",
    "colsample_bytree": "0.8",
    "gamma": "0",
    "lambda": "1",
    "alpha": "0",
    "max_bin": "256",
    "seed": "42",
}
_OBJECTIVES: Mapping[Task, tuple[str, str]] = {
    Task.BINARY: ("binary:logistic", "logloss"),
    Task.MULTICLASS: ("multi:softprob", "mlogloss"),
    Task.REGRESSION: ("reg:squarederror", "rmse"),
}


def xgboost_hyperparameters(task: Task, wishes: Mapping[str, str]) -> dict[str, str]:
    """All that TrainXgboost is given, but `num_class`, which multi:softprob needs and only Prepare knows.

    `wishes` are those of job.json. Early stopping goes by the last of `eval_metric`, which is therefore said.
    """
    objective, metric = _OBJECTIVES[task]
    return {"objective": objective, "eval_metric": metric, **_XGBOOST_DEFAULTS, **wishes}
