"""A dataset's jobs and logs are its own, whatever other jobs are called."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.connection import Connection
from cli.logs import LogQuery, lines
from cli.status import by_number, newest_jobs

OWN = "ml-platform-xgboost-0123456789ab-abcde"
OTHERS = (
    "ml-platform-xgboost-new-0123456789ab-abcde",  # of a dataset that begins alike
    "ml-platform-xgboost-abc123def456-a1B2c3D4e5",  # another dataset's, a step of its pipeline
)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Logs:
    """CloudWatch Logs with one line in each stream. FilterLogEvents takes a prefix of the streams' names."""

    def __init__(self, *streams: str, said: str = "") -> None:
        self.streams, self.said = streams, said

    def get_paginator(self, _operation: str) -> Logs:
        return self

    def paginate(self, **query: Any) -> Iterator[dict[str, Any]]:
        found = [one for one in self.streams if one.startswith(query.get("logStreamNamePrefix", ""))]
        yield {
            "events": [
                {
                    "eventId": one,
                    "logStreamName": one,
                    "timestamp": NOW.timestamp() * 1000,
                    "message": self.said or f"from {one}",
                }
                for one in found
            ]
        }


def test_the_newest_job_of_a_dataset_is_none_of_a_pipeline_nor_of_a_dataset_that_begins_alike() -> None:
    pages = [{"TrainingJobSummaries": [{"TrainingJobName": name} for name in (*OTHERS, OWN)]}]
    assert newest_jobs(pages, "ml-platform", ["xgboost", "iris"]) == {"xgboost": {"TrainingJobName": OWN}}


def test_the_logs_of_a_dataset_are_of_its_own_jobs() -> None:
    streams = [f"{job}/algo-1-1732300000" for job in (*OTHERS, OWN)]
    connection = Connection("ml-platform", None, None)
    connection.logs = Logs(*streams)
    whole, own = LogQuery("g", "ml-platform-xgboost-"), LogQuery("g", "ml-platform-xgboost-", dataset="xgboost")
    assert len(list(lines(connection, [whole], NOW, set()))) == 3
    [line] = lines(connection, [own], NOW, set())
    assert line.endswith(f"from {streams[-1]}")


@pytest.mark.parametrize(
    ("message", "noise"),
    [
        ("2026-11-28 21:16:50,658 sagemaker-training-toolkit INFO     No GPUs detected", True),
        ("Returning the value itself", True),
        ("Training Env:", True),
        ("{", True),
        ('    "current_host": "localhost",', True),
        ('            "localhost"', True),
        ("    },", True),
        ("SM_HPS={}", True),
        ("/opt/conda/bin/python3.11 train.py --label_column 2", True),
        ("2026-11-28 21:16:50,658 sagemaker-training-toolkit ERROR    Reporting training FAILURE", False),
        ("epoch=1 train_loss=0.66", False),
        ("Fold 1 of 5: 204 rows to learn from, 51 left out.", False),
        ('  File "train.py", line 5, in <module>', False),
        ("[1] is no row", False),
    ],
)
def test_the_logs_of_a_dataset_begin_with_its_training_and_not_with_the_toolkits_environment(
    message: str, noise: bool
) -> None:
    connection = Connection("ml-platform", None, None)
    connection.logs = Logs(f"{OWN}/algo-1-1732300000", said=message)
    own = LogQuery("g", "ml-platform-xgboost-", dataset="xgboost")
    assert len(list(lines(connection, [own], NOW, set()))) == (0 if noise else 1)
    assert len(list(lines(connection, [LogQuery("g")], NOW, set()))) == 1  # asked for by the group, nothing is left out


def test_datasets_are_in_the_order_of_their_numbers() -> None:
    assert sorted(["wine10", "wine2", "10", "iris", "wine"], key=by_number) == ["10", "iris", "wine", "wine2", "wine10"]
