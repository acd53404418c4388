"""`mlp drop` tells one dataset's decisions from another's, and what became of a version that is known. On moto."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
import typer
from rich.console import Console
from trained_account import ARTIFACTS, deploy_first, end, train

import builders
from builders import JOB, VERSION, Account
from cli.connection import Connection
from cli.follow import _STEP, Follower, doing, follow_to_end, known
from mlplatform import names


@pytest.mark.parametrize(
    ("entry", "mine"),
    [
        ({"dataset": "people", "message": "..."}, True),
        ({"dataset": "people-x", "message": "of people"}, False),
        ({"endpoint_name": "ml-platform-people", "message": "..."}, True),
        ({"endpoint_name": "ml-platform-people-x", "message": "..."}, False),
        ({"dataset": "people", "version": "88952c6cf0b3", "message": "..."}, True),
        ({"dataset": "people", "version": "0123456789ab", "message": "..."}, False),
        ({"dataset": "people", "job_name": "ml-platform-people-88952c6cf0b3-f9669", "message": "..."}, True),
        ({"dataset": "people", "job_name": "ml-platform-people-0123456789ab-f9669", "message": "..."}, False),
        ({"dataset": "people", "job_name": "ml-platform-peop-t0123-001-abc", "message": "of a tuning"}, True),
        ({"message": "Version 88952c6cf0b3 of people already has its verdict"}, True),
        ({"message": "The update of endpoint ml-platform-people to ... failed"}, True),
        ({"message": "ml-platform-people-0123456789ab-abcde was not compared"}, True),
        ({"message": "ml-platform-people-x-0123456789ab-abcde was not compared"}, False),
        ({"message": "Model package people/1 was registered by the gate"}, True),
        ({"message": "Model package people-x/1 was registered by the gate"}, False),
        ({"message": "Model package my-people/1 was registered by the gate"}, False),
        ({"message": "People were told already; people know"}, False),
    ],
)
def test_a_decision_is_about_the_dataset_that_it_names_and_no_other(entry: dict[str, Any], mine: bool) -> None:
    follower = Follower(Connection("ml-platform", None, "us-east-1"), Console(), "people", "88952c6cf0b3", 0.0)
    assert follower._is_mine(entry) is mine


def verdict(account: Account, said: str, job: str | None = JOB) -> None:
    key = names.verdict_key("churn", VERSION)
    account.put(key, json.dumps({"verdict": said, "reason": "line 3 is odd", "job_name": job}).encode())


def look(account: Account, seconds_later: float = 60) -> Any:
    connection = Connection("ml-platform", None, builders.REGION)
    connection.__dict__["outputs"] = {"DataBucketName": account.settings.data_bucket, "ArtifactBucketName": ARTIFACTS}
    connection.__dict__["settings"] = account.settings
    return known(connection, "churn", VERSION, time.time() + seconds_later)


def test_a_version_that_was_deployed_before_is_told_with_what_became_of_it(account: Account) -> None:
    train(account)
    end(account)
    verdict(account, "accepted")
    found = look(account)
    assert found.kind == "known"
    assert f"Version {VERSION} of churn is known since " in found.reason
    assert "the first model goes live" in found.reason
    assert look(account, seconds_later=-60) is None  # the verdict is this drop's own


def test_a_version_that_was_trained_in_vain_before_is_no_good_end_again(account: Account) -> None:
    train(account, TrainingJobStatus="Failed", FailureReason="Line 52 of mixed.csv has the text 'fifty'.")
    end(account, status="Failed")
    verdict(account, "accepted")
    found = look(account)
    assert (found.kind, found.good) == ("failed", False)
    assert "Line 52 of mixed.csv" in found.reason


def test_a_model_that_was_kept_out_is_not_deployed_unless_another_one_serves(account: Account) -> None:
    train(account, metrics=builders.metrics_json(test={"rows": 8, "accuracy": 0.4, "roc_auc": 0.4, "log_loss": 0.9}))
    end(account)
    verdict(account, "accepted")
    found = look(account)
    assert (found.kind, found.good) == ("not deployed", False)
    assert "no better than chance" in found.reason
    deploy_first(account)
    found = look(account)
    assert (found.kind, found.good) == ("kept", True)


def test_a_version_that_was_rejected_before_is_told_so_again(account: Account) -> None:
    verdict(account, "rejected", None)
    found = look(account)
    assert (found.kind, found.good) == ("rejected", False)
    assert found.reason.endswith("when it was rejected: line 3 is odd")


def test_a_version_that_still_trains_or_waits_is_followed(account: Account) -> None:
    assert look(account) is None
    verdict(account, "held", None)
    assert look(account) is None
    verdict(account, "accepted")  # whose job has no outcome yet
    found = look(account)
    assert found.kind == "open"
    assert found.reason.endswith(f"and {JOB} has not ended yet.")


def test_what_a_job_does_is_told_by_its_log_in_few_words() -> None:
    told, fold = [], ""
    for line in (
        "Fold 4 of 5: 160 rows to learn from, 40 left out.",
        "epoch=144 train_loss=0.323456 validation_loss=0.28123456 validation_accuracy=0.91 learning_rate=0.001",
        "Boosted trees learn from the same rows.",
    ):
        found = _STEP.search(line)
        assert found
        fold = found["fold"] or fold
        told.append(doing(found, fold))
    assert told == [
        "training: fold 4 of 5",
        "training: fold 4 of 5, epoch 144, validation loss 0.2812",
        "training: boosted trees, beside the network",
    ]
    assert _STEP.search("The column 'id' is left out because it numbers the rows.") is None


def test_who_has_seen_enough_is_told_that_it_goes_on() -> None:
    class Interrupted(Connection):
        @property
        def data_bucket(self) -> str:
            raise KeyboardInterrupt

    said = Console(record=True, file=io.StringIO(), width=200)
    connection = Interrupted("ml-platform", None, "us-east-1")
    connection.__dict__["logs"] = Logs()
    with pytest.raises(typer.Exit) as end:
        follow_to_end(connection, said, "people", VERSION, 0.0)
    assert end.value.exit_code == 130
    assert "what has begun goes on: mlp status people" in said.export_text()


def test_what_is_odd_about_the_data_is_told_once_while_it_trains() -> None:
    warning = (
        "Warning: The only column to learn from, 'id', differs in nearly every row, as ids do; the score is chance."
    )
    connection = Connection("ml-platform", None, "us-east-1")
    connection.__dict__["logs"] = Logs("columns=2", warning, "epoch=1 train_loss=0.5 validation_loss=0.5", warning)
    said = Console(record=True, file=io.StringIO(), width=200)
    with said.status("") as status:
        Follower(connection, said, "people", VERSION, 0.0)._read_epochs("job", status)
        assert status.status == "training: epoch 1, validation loss 0.5"
    assert [line.partition("s  ")[2] for line in said.export_text().splitlines()] == [
        f"training job           {warning}"
    ]


class Logs:
    """A client of CloudWatch Logs, and the lines of the one stream that it has."""

    def __init__(self, *lines: str) -> None:
        self.lines = lines

    def get_paginator(self, _operation: str) -> Logs:
        return self

    def paginate(self, **_query: Any) -> list[dict[str, Any]]:
        return [{"events": [{"eventId": str(at), "message": line} for at, line in enumerate(self.lines)]}]
