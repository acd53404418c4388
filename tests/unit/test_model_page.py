"""A model's card: whatever the artifact says is text on it, and its figures are those of the job."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import builders
import report
from dataset import Dataset, Rows
from mlplatform import model_plots
from mlplatform.charts import Axis
from mlplatform.decisions import AskApproval, Decision, DeployModel, KeepLiveModel, Skip
from mlplatform.deployment import plan_deployment
from mlplatform.facts import Approval, ModelCard, ModelPackage, Task
from mlplatform.model_page import with_page
from preprocess import Numbers, Texts

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
    assert "+0.0400 against the live model's 0.9100" in said
    assert "−2.0 points" in said


def test_what_training_cost_is_what_was_billed_at_the_list_price() -> None:
    # ml.m5.xlarge costs 0.23 USD an hour: 100 of 300 seconds are 0.0064 USD, and two thirds are saved
    said = text_of(html())
    assert "$0.0064" in said
    assert "67 % saved by spot: 100 s billed of 300 s" in said


def test_hosting_is_projected_for_the_hours_that_the_endpoint_is_open() -> None:
    # 50 of 168 hours a week, of 730 a month: 217 hours of ml.c5.large at 0.102 USD
    assert "$22.16" in text_of(html())


def test_a_model_that_is_kept_out_costs_nothing_more_and_says_why_it_was() -> None:
    card = builders.card(test=0.4)
    ended = builders.training_job()
    made = with_page(plan_deployment(ended, card, None, builders.settings()), ended, LINK, builders.settings())
    assert isinstance(made, KeepLiveModel)
    assert made.page is not None
    said = text_of(made.page.html)
    assert "kept out by its gate" in said
    assert "it gets no endpoint" in said
    assert made.reason in said


def test_a_model_that_something_else_registered_has_its_package_as_its_lineage() -> None:
    evaluation = {
        "choice": "xgboost has roc_auc 0.95 on the validation rows, 0.01 better than pytorch's 0.94.",
        "candidates": {
            "xgboost": {"validation": {}, "seconds": 90, "usd": 0.00575},
            "pytorch": {"validation": {}, "seconds": 180, "usd": 0.0115},
        },
    }
    card = replace(builders.card(), metrics_json=json.dumps(evaluation).encode())
    package = ModelPackage(
        "arn:aws:sagemaker:us-east-1:123456789012:model-package/ml-platform-churn/4",
        "ml-platform-churn",
        4,
        Approval.PENDING,
        "",
        "123.dkr.ecr/image:1",
        "s3://artifacts/model.tar.gz",
        {},
        {"dataset_version": "0123456789ab", "hosting": "instance_type=ml.m5.large"},
        builders.NOON,
        builders.NOON,
    )
    asked = AskApproval("It waits.", "churn", "ml-platform-churn-p4", None, card, package=package.arn)
    made = with_page(asked, package, LINK, builders.settings())
    assert isinstance(made, AskApproval)
    assert made.page is not None
    assert made.page.key == "models/churn/ml-platform-churn-p4/card.html"
    said = text_of(made.page.html)
    assert evaluation["choice"] in said
    assert "$0.017" in said  # 0.00575 and 0.0115
    assert "package/ml-platform-churn/4" in said
    assert "a person decides" in said


def test_a_type_without_a_price_is_said_and_not_a_zero() -> None:
    assert "there is no price for ml.p5.48xlarge" in text_of(html(instance_type="ml.p5.48xlarge"))


def test_a_warning_is_shown_as_its_sentence() -> None:
    told = b'{"warnings": [{"kind": "leak", "message": "The column a leaks."}, "As another program says it."]}'
    said = text_of(html(replace(builders.card(), metrics_json=told)))
    assert "The column a leaks." in said
    assert "As another program says it." in said
    assert "message" not in said


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


EVIL = '"><img src=x onerror=alert(1)><script>alert(1)</script></svg>'


def reported(task: Task = Task.BINARY, rows: int = 300, name: str = "age") -> ModelCard:
    """A card with the report on a model of one column, every name of which is `name`."""
    classes = {Task.BINARY: 2, Task.MULTICLASS: 7}.get(task, 0)

    def class_of(x: Any) -> Any:
        return np.minimum((abs(x) * 2).astype(np.int64), classes - 1)

    def split(seed: int) -> Rows:
        rng = np.random.default_rng(seed)
        x = rng.normal(0, 1, rows)
        categories = Texts(rng.integers(-1, 2, rows), [f"{name} a", f"{name} b"])
        return Rows([Numbers(x), categories], class_of(x) if classes else 3 * x + 10)

    def predict(columns: Any) -> Any:
        x = columns[0].values
        if not classes:
            return 3 * x + 10.5
        sure = np.full((len(x), classes), 0.2 / classes)
        sure[np.arange(len(x)), class_of(x)] += 0.8
        return sure

    labels = [f"{name} {n}" for n in range(classes)] or None
    data = Dataset([name, f"{name} too"], name, labels, split(1), split(2), split(3), 4)
    found = report.build(data, predict, curve=[[n, 1 / n, 0.5 + abs(n - 4) / 9, 0] for n in range(1, 9)])
    return replace(builders.card(task=task, test=0.9), report_json=report.dump(found).encode())


@pytest.mark.parametrize("task", list(Task))
def test_every_part_of_a_report_is_drawn_and_every_name_in_it_is_text(task: Task) -> None:
    page = html(reported(task, name=EVIL))
    elements = list(parsed(page).iter())
    assert {element.tag for element in elements}.isdisjoint({"script", "img", "link", "iframe"})
    assert not any({"src", "href", "onload", "onerror"} & set(element.attrib) for element in elements)
    assert "url(" not in page
    titles = {element.text for element in elements if element.tag == "h2"}
    assert titles >= {"How training went", "What it relies on", "What it was trained on: 2 columns", "What it costs"}
    if task is Task.REGRESSION:
        assert titles >= {"Predicted and actual", "How far off it is"}
    else:
        assert titles >= {"Can its probabilities be taken at their word?", "Which class is taken for which"}
    assert ("What more finds cost in false alarms" in titles) == (task is Task.BINARY)


def test_the_counts_of_the_page_are_those_of_the_rows() -> None:
    said = text_of(html(reported(Task.MULTICLASS)))
    assert "Right 300 of 300Wrong 0" in said  # the model is exact
    assert "300 rows to train on, 300 to choose the best epoch, 300 to judge." in said
    assert "4 rows without a label left out." in said
    assert "Kept, with the lowest validation loss epoch 4" in said


def test_a_regression_says_its_bias_and_how_far_off_it_is() -> None:
    said = text_of(html(reported(Task.REGRESSION)))
    assert "Bias: actual less predicted, on average −0.5000" in said
    assert "Half are off by less than 0.5000" in said


def test_the_epochs_of_each_fold_are_counted_from_its_own_first_one() -> None:
    card = reported()
    found = json.loads(card.report_json)
    losses = {0: [0.5, 0.3, 0.4], 1: [0.5, 0.4, 0.3, 0.6]}
    found["training"]["curve"] = [[0, 1, loss, fold] for fold, run in losses.items() for loss in run]
    for n, point in enumerate(found["training"]["curve"], 1):
        point[0] = n
    said = text_of(html(replace(card, report_json=json.dumps(found).encode())))
    assert "Epochs 7Kept, with the lowest validation loss epochs 2, 3" in said
    assert "2 networks, each judged on rows that it was not trained on" in said


def test_axes_have_a_few_round_ticks_whatever_they_measure() -> None:
    assert Axis(0, 1, "", str).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert Axis(0.0013, 0.0052, "", str).ticks() == pytest.approx([0.002, 0.003, 0.004, 0.005])
    assert Axis(-3e6, 7e6, "", str).ticks() == pytest.approx([-2e6, 0, 2e6, 4e6, 6e6])
    assert Axis(1, 3, "", str, whole=True).ticks() == [1, 2, 3]
    assert Axis(30, 2e5, "", str, logarithmic=True).ticks() == [100, 1000, 10000, 100000]
    assert Axis(5, 5, "", str).ticks() == [5]


PARTS = ("columns", "label", "calibration", "confusion", "roc", "importance", "training", "rows")
ODD = (None, [], "text", [[None]], {"bins": [{}], "counts": [[1, 2]], "classes": ["a"], "points": [[0]], "curve": [0]})


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_not_as_it_should_be_costs_no_more_than_its_section(part: str) -> None:
    card = reported()
    for odd in ODD:
        found = json.loads(card.report_json) | {part: odd}
        page = html(replace(card, report_json=json.dumps(found).encode()))
        assert "What it costs" in text_of(page)


@pytest.mark.parametrize("low", [float("nan"), float("-inf"), -1e308])
def test_figures_that_no_axis_can_hold_are_left_out(low: float) -> None:
    card = reported(Task.REGRESSION)
    found = json.loads(card.report_json)
    found["residuals"] |= {"low": low, "high": 1e308, "absolute_quantiles": [low, low]}
    found["label"]["histogram"]["low"] = low
    assert "What it costs" in text_of(html(replace(card, report_json=json.dumps(found).encode())))


def test_a_column_of_dates_is_shown_as_days() -> None:
    days = [f"2025-0{month}-01" for month in range(1, 8)]
    one = {"name": "signed_up", "kind": "date", "missing": 0.0, "distinct": 7, "quantiles": days}
    row = model_plots._column({**one, "histogram": {"low": 0, "high": 1, "counts": [3, 4]}}, 7)
    assert "median <b>2025-04-01</b>, half from 2025-03-01 to 2025-05-01, all from 2025-01-01 to 2025-07-01" in row
