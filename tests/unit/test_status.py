"""A dataset's jobs and logs are its own, whatever other jobs are called."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cli.connection import Connection
from cli.logs import LogQuery, lines
from cli.status import newest_jobs

OWN = "ml-platform-xgboost-0123456789ab-abcde"
OTHERS = (
    "ml-platform-xgboost-new-0123456789ab-abcde",  # of a dataset that begins alike
    "ml-platform-xgboost-abc123def456-a1B2c3D4e5",  # another dataset's, a step of its pipeline
)
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Logs:
    """CloudWatch Logs with one line in each stream. FilterLogEvents takes a prefix of the streams' names."""

    def __init__(self, *streams: str) -> None:
        self.streams = streams

    def get_paginator(self, _operation: str) -> Logs:
        return self

    def paginate(self, **query: Any) -> Iterator[dict[str, Any]]:
        found = [one for one in self.streams if one.startswith(query.get("logStreamNamePrefix", ""))]
        yield {
            "events": [
                {"eventId": one, "logStreamName": one, "timestamp": NOW.timestamp() * 1000, "message": f"from {one}"}
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
