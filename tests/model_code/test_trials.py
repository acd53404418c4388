"""What a training script does differently as a trial of a tuning job."""

from __future__ import annotations

from pathlib import Path

import pytest

import train

ARGUMENTS = [
    "--label_column",
    "0",
    "--task",
    "binary",
    "--checkpoint_dir",
    "/opt/ml/checkpoints",
    "--job_name",
    "t-001",
]


@pytest.mark.parametrize(
    ("more", "folder"),
    [
        ([], "/opt/ml/checkpoints"),
        (["--_tuning_objective_metric", "validation:loss"], "/opt/ml/checkpoints/t-001"),
    ],
)
def test_trials_that_share_a_checkpoint_prefix_have_a_folder_each(more: list[str], folder: str) -> None:
    assert train.parse([*ARGUMENTS, *more]).checkpoint_dir == Path(folder)


@pytest.mark.parametrize(
    ("validation", "printed"),
    [
        ({"log_loss": 0.25, "accuracy": 0.9, "roc_auc": 0.95}, "validation_loss=0.25 validation_accuracy=0.9"),
        # an error of 6 where labels scatter by 4: (6 / 4) squared
        ({"rmse": 6.0, "mae": 5.0, "r2": 0.1}, "validation_loss=2.25 validation_rmse=6"),
    ],
)
def test_the_last_metrics_that_are_printed_are_those_of_the_model_that_is_kept(
    validation: dict[str, float], printed: str
) -> None:
    assert train._of_the_kept_model(validation, 4.0) == printed
