"""Tables fit into 80 columns with no name broken."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console
from rich.table import Table

import builders
from cli import models, status
from cli.connection import Connection
from cli.models import Group
from cli.status import Row
from mlplatform.facts import Approval


def lines(table: Table) -> list[str]:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(table)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_status_shows_a_model_by_its_version_and_breaks_no_name() -> None:
    job = "ml-platform-customer-churn-88952c6cf0b3-f9669"
    rows = [
        Row("customer-churn", "accepted", "Completed", job, "InService", "1 of 1..5", "", False),
        Row("iris", "not judged yet", "", "", "asleep until Mon 30 Nov 08:00", "", "", True),
    ]
    shown = lines(status.table(rows, Connection("ml-platform", None, None)))
    assert "customer-churn  accepted" in shown[1]
    assert "88952c6cf0b3-f9669" in shown[1]
    assert max(map(len, shown)) <= 80


def test_status_has_a_line_for_each_dataset_and_says_below_what_is_long() -> None:
    asleep = "asleep until Mon 30 Nov 08:00 (UTC)"
    tuning = "tuning InProgress, 3 of 20 trials, best validation:loss 0.12, 0.0123 USD"
    rows = [
        Row("customers-who-left-in-autumn", "accepted", tuning, "m-88952c6cf0b3-f9669", "InService", "", "", False),
        Row("iris", "accepted", "Completed", "", asleep, "", "", True),
        Row("wine", "accepted", "Completed", "", asleep, "", "", True),
        Row("oranges", "accepted", "Completed", "", "InService", "serverless, 2 GB x 20", "", False),
    ]
    shown = lines(status.table(rows, Connection("ml-platform", None, None), width=80))
    assert shown[0].split() == ["dataset", "verdict", "job", "endpoint", "instances"]
    assert len(shown) == 1 + len(rows)
    assert status.notes(rows) == [
        f"customers-who-left-in-autumn: {tuning}",
        f"iris, wine: {asleep}",
        "oranges: serverless, 2 GB x 20",
    ]


def test_models_has_one_line_for_each() -> None:
    said = {"objective": "roc_auc", "test_roc_auc": "0.7962", "gate": "passed", "hosting_usd_per_month": "22.16"}
    said["training_usd"] = "0.0003"
    live = builders.model_package(12, properties=said, approval=Approval.APPROVED)
    packages = (live, builders.model_package(11, properties=said, approval=Approval.PENDING))
    shown = lines(models.table(Group("customer", packages, live, parked=True)))
    assert shown[0].split() == ["USD", "a", "training"]
    assert shown[2].split()[:4] == ["customer/12", "live,", "stopped", "passed"]
    assert shown[3].split()[:4] == ["customer/11", "waits", "passed", "0.7962"]
    assert len(shown) == 4


def test_a_live_model_that_somebody_rejected_says_so() -> None:
    package = builders.model_package(1, properties={}, approval=Approval.REJECTED)
    assert "live, rejected" in "\n".join(lines(models.table(Group("churn", (package,), package, parked=False))))
    other = replace(package, version=2)
    assert "live" not in "\n".join(lines(models.table(Group("churn", (other,), None, parked=False))))
