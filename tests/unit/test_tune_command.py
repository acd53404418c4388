"""What `mlp tune` takes for ranges, and how a followed tuning is told of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cli.connection import CommandError
from cli.follow import _trial_summary
from cli.tuning import _range, assert_none_runs
from mlplatform.aws_tuning import read_tuning
from mlplatform.facts import JobStatus


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("dropout=0..0.5", ("dropout", {"min": 0, "max": 0.5})),
        ("learning_rate=1e-4..1e-2:log", ("learning_rate", {"min": 0.0001, "max": 0.01, "scale": "log"})),
        ("hidden_size=64,128", ("hidden_size", {"values": [64, 128]})),
        ("network=mlp,tabm", ("network", {"values": ["mlp", "tabm"]})),
    ],
)
def test_a_range_is_written_with_two_dots_and_values_with_commas(text: str, read: tuple[str, Any]) -> None:
    assert _range(text) == read


@pytest.mark.parametrize("text", ["dropout", "dropout=0..", "dropout=low..high", "dropout=0..1..2"])
def test_anything_else_is_no_range(text: str) -> None:
    with pytest.raises(CommandError, match="is no range"):
        _range(text)


@pytest.mark.parametrize(
    ("status", "value", "told"),
    [
        (
            "Completed",
            0.0311584,
            "3 of 20: validation:loss 0.031158, the best so far; hidden_size 96, learning_rate 0.002742",
        ),
        (
            "Stopped",
            0.5,
            "3 of 20: validation:loss 0.5 (stopped early), the best so far; hidden_size 96, learning_rate",
        ),
        ("Failed", None, "3 of 20: it fell over, the best so far; hidden_size 96"),
    ],
)
def test_a_trial_is_told_with_its_result_and_what_was_tried(status: str, value: float | None, told: str) -> None:
    trial = {
        "TrainingJobName": "t-003",
        "TrainingJobStatus": status,
        "TunedHyperParameters": {"learning_rate": "0.00274153670919978", "hidden_size": "96"},
        "FailureReason": "it fell over",
    }
    if value is not None:
        trial["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": "validation:loss", "Value": value}
    assert _trial_summary(trial, trial, 3, 20).startswith(told)


def test_a_tuning_is_refused_while_another_of_the_dataset_runs() -> None:
    described = {
        "HyperParameterTuningJobName": "ml-platform-churn-t1",
        "HyperParameterTuningJobArn": "arn:aws:sagemaker:us-east-1:123456789012:hyper-parameter-tuning-job/t1",
        "HyperParameterTuningJobStatus": "InProgress",
        "HyperParameterTuningJobConfig": {"ResourceLimits": {"MaxNumberOfTrainingJobs": 20}},
        "TrainingJobStatusCounters": {"Completed": 2, "RetryableError": 0, "InProgress": 2},
    }
    runs = read_tuning(described, {})
    with pytest.raises(CommandError, match=r"runs already, ml-platform-churn-t1: 2 of 20 trials ended"):
        assert_none_runs("churn", [replace(runs, status=JobStatus.COMPLETED), runs])
    assert_none_runs("churn", [replace(runs, status=JobStatus.COMPLETED)])
