"""The advice, doing it, and the summary of what is deployed, from the command line against a running laptop."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cli.summary import summarise

from .conftest import Laptop, Mlp

pytestmark = pytest.mark.xdist_group("second-laptop")
GROUP = "/aws/sagemaker/Endpoints/ml-platform-advised"


def retention(laptop: Laptop) -> int | None:
    (group,) = laptop.client("logs").describe_log_groups(logGroupNamePrefix=GROUP)["logGroups"]
    days: int | None = group.get("retentionInDays")
    return days


def test_advice_is_shown_first_and_done_only_when_told(laptop: Laptop, mlp: Mlp) -> None:
    laptop.client("logs").create_log_group(logGroupName=GROUP)
    document = json.loads(mlp("costs", "advice", "--json"))
    found = next(one for one in document["recommendations"] if "of this stack forget" in one["title"])
    assert document["not_looked_at"] == []

    shown = mlp("costs", "apply", str(found["number"]))
    assert f"would do: aws logs put-retention-policy --log-group-name {GROUP}" in shown
    assert retention(laptop) is None

    assert "done" in mlp("costs", "apply", str(found["number"]), "--yes", "--expect", found["key"])
    assert retention(laptop) == 7
    left = json.loads(mlp("costs", "advice", "--json"))["recommendations"]
    assert found["key"] not in [one["key"] for one in left]


def test_the_summary_tells_of_every_resource_what_it_is_for_and_how_it_is_secured(laptop: Laptop) -> None:
    summary = summarise(laptop.connection)
    deployed = laptop.client("cloudformation").describe_stack_resources(StackName="ml-platform")["StackResources"]
    assert {item.logical_id for item in summary.items} == {one["LogicalResourceId"] for one in deployed}
    assert [item.logical_id for item in summary.items if not item.purpose] == []
    assert [item.logical_id for item in summary.items if item.missing_tags] == []
    for item in summary.items:
        if item.kind == "AWS::S3::Bucket":
            assert {"encrypted (AES256)", "public access blocked", "TLS only", "versioned"} <= set(item.security)
        if item.kind == "AWS::Lambda::Function":
            assert "a role of its own" in item.security
        if item.kind == "AWS::Logs::LogGroup":
            assert item.saves == "forgets after 7 days"
    own, _ = summary.own_cost
    assert 0 < own < 3


def test_the_summary_fits_a_terminal_of_80_columns(mlp: Mlp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")  # as rich is told of a terminal; what is piped keeps its lines
    lines = mlp("summary").splitlines()
    resources = [line for line in lines if "a month" in line and line.startswith("  ")]
    assert len(resources) > 50
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []


def test_the_summarys_page_stands_alone_and_adds_up(laptop: Laptop, mlp: Mlp, tmp_path: Path) -> None:
    file = tmp_path / "summary.html"
    mlp("summary", "--html", str(file))
    page = file.read_text()
    assert not re.search(r"<script|src=|href=", page)
    own, list_price = summarise(laptop.connection).own_cost
    assert f"${own:.2f} a month" in page
    assert f"${list_price:.2f} without" in page
    assert page.count("<table") == page.count("</table>")
