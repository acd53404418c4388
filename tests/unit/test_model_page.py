"""A model's card: whatever the artifact says is text on it, and its figures are those of the job."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import builders
from mlplatform.decisions import Decision, DeployModel, Skip
from mlplatform.deployment import plan_deployment
from mlplatform.facts import ModelCard
from mlplatform.model_page import with_page

LINK = "https://console.aws.amazon.com/s3/object/artifacts"


def decision(card: ModelCard | None = None, **job: Any) -> Decision:
    ended = builders.training_job(**job)
    settings = builders.settings()
    planned = plan_deployment(ended, card or builders.card(), None, settings)
    return with_page(planned, ended, LINK, settings)


def html(card: ModelCard | None = None, **job: Any) -> str:
    made = decision(card, **job)
    assert isinstance(made, DeployModel)
    assert made.page is not None
    return made.page.html


def parsed(page: str) -> ElementTree.Element:
    """Raises ParseError where the page is not well-formed; its void elements are the only HTML beyond XML."""
    body = page.removeprefix("<!doctype html>\n")
    for void in ("<br>",):
        body = body.replace(void, f"{void[:-1]}/>")
    head, rest = body.split("<title>", 1)
    return ElementTree.fromstring(head.replace('">\n', '"/>\n').replace('lang="en"/>', 'lang="en">') + "<title>" + rest)


def text_of(page: str) -> str:
    return " ".join("".join(parsed(page).itertext()).split())


def test_a_decision_without_a_model_has_no_page() -> None:
    skip = Skip("Nothing.")
    assert with_page(skip, builders.training_job(), LINK, builders.settings()) is skip


def test_the_card_lies_beside_the_model_it_is_about() -> None:
    made = decision()
    assert isinstance(made, DeployModel)
    assert made.page is not None
    assert (made.page.key, made.page.link) == (f"models/churn/{builders.JOB}/card.html", LINK)


def test_the_new_model_is_set_against_the_live_one_on_the_same_rows() -> None:
    card = builders.card()
    test, live = {"rows": 400, "roc_auc": 0.95, "accuracy": 0.9}, {"rows": 400, "roc_auc": 0.91, "accuracy": 0.92}
    card = replace(card, metrics=replace(card.metrics, test=test, live=live))
    said = text_of(html(card))
    assert "On 400 test rows that it never saw it is right in 90.0 % of the cases" in said
    assert "ROC AUC 0.9500, better than the live model's 0.9100" in said
    assert "+0.04000 against the live model's 0.9100" in said
    assert "−2.0 points" in said


def test_what_training_cost_is_what_was_billed_at_the_list_price() -> None:
    # ml.m5.xlarge costs 0.23 USD an hour: 100 of 300 seconds are 0.0064 USD, and two thirds are saved
    said = text_of(html())
    assert "$0.0064" in said
    assert "67% saved by spot: 100 s billed of 300 s" in said


def test_hosting_is_projected_for_a_month_of_730_hours() -> None:
    assert "$74.46" in text_of(html())  # ml.c5.large, 0.102 USD an hour


def test_a_type_without_a_price_is_said_and_not_a_zero() -> None:
    assert "there is no price for ml.p5.48xlarge" in text_of(html(instance_type="ml.p5.48xlarge"))


def test_whatever_the_artifact_and_the_job_say_is_text_and_the_page_needs_nothing_from_elsewhere() -> None:
    evil = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
    card = replace(
        builders.card(),
        metrics_json=b'{"warnings": ["<script>alert(2)</script>"]}',
        report_json=b'{"label": {"name": "<script>alert(3)</script>"}, "columns": []}',
    )
    card = replace(card, metrics=replace(card.metrics, test={"rows": 8, "roc_auc": 0.9, evil: 1.0}))
    page = html(card, hyperparameters={evil: evil}, instance_type=evil)
    elements = list(parsed(page).iter())
    assert {element.tag for element in elements}.isdisjoint({"script", "img", "link", "iframe"})
    assert not any({"src", "href", "onload", "onerror"} & set(element.attrib) for element in elements)
    assert "url(" not in page
    assert "default-src 'none'" in page
