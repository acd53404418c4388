"""The report as a message and as a page: within Slack's limits, safe with any name, and whole. Pure: no AWS."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal as D
from typing import Any
from xml.etree import ElementTree

import pytest

import builders
from laptop.service_model import validate
from mlplatform import notices, report_message, report_page
from mlplatform.cost_report import Report, plan_report
from mlplatform.decisions import ReportCosts
from mlplatform.facts import CostFacts, CostLine, Forecast, TaggedCost

TODAY = date(2026, 11, 24)
LINK = (
    "https://console.aws.amazon.com/s3/object/ml-platform-artifacts?region=us-east-1&prefix=reports%2F2026-11-24.html"
)


def report(services: int = 3, name: str = "Service {}", project: str = "ml-platform", **changed: Any) -> Report:
    days = [date(2026, 10, 1) + timedelta(days=n) for n in range(54)]
    lines = [CostLine(day, name.format(n), "Usage", D(n + 1) / 3, "USD", True) for day in days for n in range(services)]
    tags = [TaggedCost(one.day, project, "churn", one.amount, "USD") for one in lines]
    facts = CostFacts(
        TODAY, tuple(lines), tuple(tags), Forecast(TODAY, D(3), "USD"), requests=3, missing=("Something is missing.",)
    )
    return plan_report(replace(facts, **changed), builders.settings())


def parsed(page: str) -> ElementTree.Element:
    """Void elements are all that keeps this HTML from being XML."""
    return ElementTree.fromstring(re.sub(r"<!doctype[^>]*>|<meta[^>]*>|<br>", "", page))


def characters(block: Any) -> list[tuple[str, int]]:
    """The kind and length of every text of a block."""
    return [
        (block["type"], len(part["text"])) for part in [block.get("text"), *block.get("fields", [])] if part is not None
    ]


@pytest.mark.parametrize("made", [report(), report(200, "S" * 900 + "{}"), report(0, lines=None, tagged=None)])
def test_blocks_stay_within_slacks_limits(made: Report) -> None:
    made = replace(made, missing=(*made.missing, "<&>" * 3000, "x" * 9000))
    blocks = report_message.slack(made, LINK)
    assert len(blocks) <= 50
    limits = {"header": 150, "section": 3000}
    assert all(0 < length <= limits[kind] for block in blocks for kind, length in characters(block))
    assert all(len(block.get("fields", [])) <= 10 for block in blocks)
    assert all(len(field["text"]) <= 2000 for block in blocks for field in block.get("fields", []))
    assert blocks[-1]["text"]["text"].startswith(f"<{LINK}|")


def test_no_name_calls_anybody_or_breaks_out_of_its_table() -> None:
    made = report(project="<!channel> ```*bold*", services=1, name="<@U123>{}")
    text = json.dumps(report_message.slack(made, LINK))
    assert "<!channel>" not in text
    assert "<@U123>" not in text
    assert all(
        block["text"]["text"].count("```") in {0, 2}
        for block in report_message.slack(made, LINK)[2:]
        if "text" in block
    )


def test_the_rows_that_do_not_fit_are_one_row_so_that_the_table_still_adds_up() -> None:
    made = report(20)
    table = next(b["text"]["text"] for b in report_message.slack(made, LINK) if "By service" in str(b))
    rows = [row.split("$") for row in table.split("```")[1].splitlines()[1:]]
    assert rows[-2][0].strip() == "13 others"
    amounts = [D(row[2].strip().replace(",", "")) for row in rows]
    assert sum(amounts[:-1]) == amounts[-1]


def test_the_message_says_what_was_spent_and_where_the_page_is() -> None:
    made = report()
    # a day costs 1/3 + 2/3 + 3/3 = 2, of which 23 days make 46
    assert report_message.subject(made) == "ml-platform: $2.00 yesterday, $46.00 this month"
    text = report_message.text(made, LINK)
    assert "Yesterday:              $2.00 (estimated)" in text
    assert "$46.00, +0 % against $46.00 on 1-23 October" in text
    assert "3 Cost Explorer requests today cost $0.03." in text
    assert "Something is missing." in text
    assert LINK in text


def test_the_notice_is_one_that_sns_accepts_and_that_slack_gets_as_blocks() -> None:
    made = report(200, "S" * 900 + "{}")
    blocks = report_message.slack(made, LINK)
    decision = ReportCosts("r", "k.html", "", "k.json", "", report_message.subject(made), "text " * 9000, blocks)
    notice = notices.for_decision(decision, stack="ml-platform", environment="dev")
    assert notice is not None
    request = notices.publish_request(notice, builders.settings().alerts_topic_arn)
    assert validate("sns", "Publish", request) == []
    assert len(request["Message"].encode()) < 250_000
    sent = json.loads(request["Message"])["lambda"]
    received = notices.from_sns({"Sns": {"Message": sent, "Subject": notice.subject}})
    assert notices.slack_blocks(received) == list(blocks)


def test_the_page_is_well_formed_needs_nothing_from_elsewhere_and_escapes_every_name() -> None:
    page = report_page.page(report(3, "<script>alert({})</script>", project='"><img src=x>'))
    assert "<script" not in page
    assert "<img" not in page
    elements = list(parsed(page).iter())
    assert {"svg", "table", "details"} - {element.tag for element in elements} == {"details"}  # nothing was saved
    assert not any({"src", "href", "onload"} & set(element.attrib) for element in elements)
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.parametrize(
    "changed",
    [
        {"lines": None, "tagged": None},
        {"lines": (), "tagged": ()},
        {"tagged": None},
        {"lines": (CostLine(date(2026, 11, 1), "A", "Credit", D("-5"), "USD"),), "tagged": None},
        {"lines": (CostLine(date(2026, 11, 1), "A", "Usage", D("0.0000001"), "USD"),), "tagged": ()},
        {"lines": (CostLine(date(2026, 11, 23), "A", "Usage", D("1000000000"), "USD"),), "tagged": ()},
    ],
)
def test_whatever_is_missing_there_is_a_page_and_a_message(changed: dict[str, Any]) -> None:
    made = report(**changed)
    assert parsed(report_page.page(made)).tag == "html"
    assert "What is missing" in report_message.text(made, LINK)


def test_the_page_shows_the_cents_of_the_tables_and_every_formula() -> None:
    made = report()
    page = report_page.page(made)
    assert made.services is not None
    for row in made.services.rows:
        assert f"<td>{row.name}</td>" in page
    assert page.count("$46.00") >= 3  # the card, the total of the table, the end of the line
