"""Which hyperparameters each algorithm takes, and what the built-in XGBoost is given."""

from __future__ import annotations

import pytest

import train
from mlplatform import algorithms
from mlplatform.facts import Task


@pytest.mark.parametrize(
    ("task", "objective", "metric"),
    [
        (Task.BINARY, "binary:logistic", "logloss"),
        (Task.MULTICLASS, "multi:softprob", "mlogloss"),
        (Task.REGRESSION, "reg:squarederror", "rmse"),
    ],
)
def test_the_objective_follows_the_task_and_early_stopping_its_metric(task: Task, objective: str, metric: str) -> None:
    given = algorithms.xgboost_hyperparameters(task, {})
    assert (given["objective"], given["eval_metric"]) == (objective, metric)
    assert "num_class" not in given, "only Prepare has seen all classes"


def test_a_wish_replaces_a_default_and_nothing_else() -> None:
    usual = algorithms.xgboost_hyperparameters(Task.BINARY, {})
    wished = algorithms.xgboost_hyperparameters(Task.BINARY, {"max_depth": "3"})
    assert wished == usual | {"max_depth": "3"}
    assert usual["max_depth"] != "3"


def test_every_default_is_one_that_may_be_wished_and_within_its_limits() -> None:
    limits = algorithms.HYPERPARAMETERS[algorithms.XGBOOST]
    given = algorithms.xgboost_hyperparameters(Task.BINARY, {})
    assert given.keys() - {"objective", "eval_metric"} == limits.keys()
    for name, limit in limits.items():
        assert limit.smallest <= float(given[name]) <= limit.largest, name
        assert not limit.whole or given[name].isdigit(), name


def test_what_job_json_may_ask_of_the_network_is_what_the_training_takes() -> None:
    asked = algorithms.HYPERPARAMETERS[algorithms.PYTORCH]
    taken = {name: (kind is int, low, high) for name, (kind, low, high) in train.LIMITS.items()}
    assert {name: (one.whole, one.smallest, one.largest) for name, one in asked.items()} == taken
