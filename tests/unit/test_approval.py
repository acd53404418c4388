"""When a model that passed the gate still needs a person. Pure: no AWS."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

import builders
from builders import card, endpoint, training_job
from mlplatform import names
from mlplatform.approval import difference, why_ask
from mlplatform.deployment import Live, plan_deployment
from mlplatform.facts import ModelCard, Task
from mlplatform.model_card import parse_card
from mlplatform.model_cost import HostingCost, hosting_cost, training_usd

LEAK = ("The column outcome_code alone predicts the label.",)
CHEAP = HostingCost(Decimal("22.17"), "1 x ml.c5.large")
DEAR = HostingCost(Decimal("100.01"), "2 x ml.c5.xlarge")
UNKNOWN = HostingCost(None, "not known: there is no price")


def warned(one: ModelCard, warnings: tuple[str, ...] = LEAK) -> ModelCard:
    return replace(one, metrics=replace(one.metrics, warnings=warnings, doubts=warnings))


@pytest.mark.parametrize(
    ("environment", "cost", "kinds"),
    [
        ("prod", DEAR, "cost"),
        ("prod", HostingCost(Decimal(100), ""), None),  # the ceiling itself is allowed
        ("prod", UNKNOWN, "cost"),
        ("staging", DEAR, None),
        ("dev", DEAR, None),
        ("dev", UNKNOWN, None),
    ],
)
def test_a_price_above_the_ceiling_needs_a_person_in_prod_only(
    environment: str, cost: HostingCost, kinds: str | None
) -> None:
    ask = why_ask(card(), None, cost, builders.settings(environment=environment), serving=False)
    assert (ask.kinds if ask else None) == kinds


@pytest.mark.parametrize(
    ("new", "suspicious"),
    [
        (card(test=0.9995, live=0.90), True),  # 0.0005 of 0.1 is left
        (card(test=0.9995, live=0.9960), False),  # an eighth is left
        (card(test=0.9980, live=0.70), False),  # a fifteenth, but 0.002 is left, which happens
        (card(test=1.0, live=0.80), True),
        (card(test=1.0, live=1.0), False),
        (card(test=1.0), False),  # nothing is live: nothing moved
        (card(task=Task.REGRESSION, test=0.1, live=2.0, r2=0.9995), True),
        (card(task=Task.REGRESSION, test=0.1, live=2.0, r2=0.98), False),
        (card(task=Task.REGRESSION, test=1.1, live=2.0, r2=0.9995), False),
        (card(test=0.95, live=0.60), False),
    ],
)
def test_a_metric_that_moves_from_something_to_perfect_is_too_good_to_be_believed(
    new: ModelCard, suspicious: bool
) -> None:
    ask = why_ask(new, card(), CHEAP, builders.settings(), serving=new.metrics.live is not None)
    assert (ask is not None) == suspicious
    if ask is not None:
        assert ask.kinds == "suspicious"
        assert "too good to be believed" in ask.reason


@pytest.mark.parametrize(
    ("environment", "live_card", "serving", "asked"),
    [
        ("dev", card(), True, True),
        ("dev", None, True, True),
        ("dev", warned(card()), True, False),  # it was known of the live model too
        ("dev", warned(card(), ("The column outcome_code alone predicts the label.",)), True, False),
        ("dev", warned(card(), ("The column age alone predicts the label.",)), True, True),
        ("dev", None, False, False),  # a first model has nothing to harm
        ("prod", None, False, True),
    ],
)
def test_a_warning_of_the_training_is_looked_at_where_it_is_new_and_could_do_harm(
    environment: str, live_card: ModelCard | None, serving: bool, asked: bool
) -> None:
    settings = builders.settings(environment=environment)
    ask = why_ask(warned(card(test=0.95, live=0.9)), live_card, CHEAP, settings, serving=serving)
    assert (ask is not None) == asked
    if ask is not None:
        assert "outcome_code alone predicts the label" in ask.reason


def test_all_reasons_are_said_together() -> None:
    ask = why_ask(warned(card()), None, DEAR, builders.settings(environment="prod"), serving=False, requested=True)
    assert ask is not None
    assert ask.kinds == "cost suspicious requested"
    assert ask.reason == (
        "its hosting costs 100.01 USD a month (2 x ml.c5.xlarge), more than the 100 USD of ApprovalCeilingUsd, and "
        "its training warns: The column outcome_code alone predicts the label, and its job.json asks for that"
    )


@pytest.mark.parametrize(
    ("tags", "environment", "usd", "hours"),
    [
        ({}, "dev", "22.16", "217 hours"),  # 730 x 50/168 hours at 0.102 USD
        ({}, "prod", "74.46", "730 hours"),
        ({names.HOURS_TAG: "mon-fri 08:00-18:00"}, "prod", "22.16", "217 hours"),
        ({names.HOURS_TAG: "always-on"}, "dev", "74.46", "730 hours"),
        ({names.HOURS_TAG: "whenever"}, "dev", "74.46", "730 hours"),
    ],
)
def test_a_month_of_hosting_is_counted_in_the_hours_that_the_endpoint_runs(
    tags: dict[str, str], environment: str, usd: str, hours: str
) -> None:
    cost = hosting_cost("ml.c5.large", 1, tags, builders.settings(environment=environment))
    assert cost.usd_per_month == Decimal(usd)
    assert hours in cost.formula


def test_a_type_without_a_price_has_no_cost_and_says_so() -> None:
    cost = hosting_cost("ml.p5.48xlarge", 1, {}, builders.settings())
    assert cost.usd_per_month is None
    assert "ml.p5.48xlarge" in cost.formula


@pytest.mark.parametrize(
    ("changed", "usd"),
    [
        ({}, "0.0064"),  # 100 s at 0.23 USD an hour
        ({"instance_count": 3}, "0.0192"),
        ({"billable_seconds": None}, None),
        ({"instance_type": "ml.p5.48xlarge"}, None),
    ],
)
def test_a_training_costs_what_was_billed(changed: dict[str, Any], usd: str | None) -> None:
    found = training_usd(training_job(**changed), "us-east-1")
    assert (None if found is None else f"{found:.4f}") == usd


def test_people_are_told_the_metric_and_the_price_beside_those_of_the_live_model() -> None:
    cost = hosting_cost("ml.c5.large", 2, {}, builders.settings())
    assert difference(card(test=0.91, live=0.9), endpoint(), cost, builders.settings()) == [
        "Metric: roc_auc 0.9100 on its test rows; the live model has 0.9000 on the same (+0.0100).",
        "Hosting: 44.32 USD a month (2 x ml.c5.large at 0.102 USD an hour, 217 hours a month), now 22.16: +22.16 USD a "
        "month.",
    ]
    assert difference(warned(card()), None, UNKNOWN, builders.settings()) == [
        "Metric: roc_auc 0.9000 on its test rows.",
        "Warning: The column outcome_code alone predicts the label.",
        "Hosting: not known: there is no price",
    ]


def test_a_model_that_fails_the_gate_is_nobodys_to_decide_upon() -> None:
    tags = {**training_job().tags, names.APPROVAL_TAG: "manual"}
    worse = plan_deployment(training_job(tags=tags), card(test=0.4), None, builders.settings())
    assert type(worse).__name__ == "KeepLiveModel"


def test_what_waits_says_so_in_the_registry_and_why() -> None:
    tags = {**training_job().tags, names.APPROVAL_TAG: "manual"}
    live = Live(endpoint(), None, card())
    job = training_job(tags=tags, inputs={"live_model": builders.LIVE_ARTIFACT})
    decision = plan_deployment(job, card(test=0.95, live=0.9), live, builders.settings())
    assert type(decision).__name__ == "AskApproval"
    package = decision.model_package  # type: ignore[union-attr]
    assert package["ModelApprovalStatus"] == "PendingManualApproval"
    assert package["CustomerMetadataProperties"]["asked"] == "requested"
    assert package["CustomerMetadataProperties"]["gate"] == "passed"
    assert "waits for a person's approval, because its job.json asks for that" in package["ModelPackageDescription"]


@pytest.mark.parametrize(
    ("warnings", "doubts"),
    [
        (["The column a predicts the label with 0.99."], ["The column a predicts the label with 0.99."]),
        ([{"kind": "leak", "message": "a leaks."}, {"kind": "chance", "message": "b is an id."}], ["a leaks."]),
        ([{"message": "c leaks."}], ["c leaks."]),
        (None, []),
    ],
)
def test_a_warning_is_a_doubt_unless_it_says_that_it_is_about_something_else(warnings: Any, doubts: list[str]) -> None:
    files = {"metrics.json": builders.metrics_json(warnings=warnings), "sample.json": builders.SAMPLE_JSON}
    read = parse_card({name: json.dumps(content).encode() for name, content in files.items()})
    assert isinstance(read, ModelCard)
    assert list(read.metrics.doubts) == doubts
    assert len(read.metrics.warnings) == len(warnings or ())


def test_a_known_warning_with_other_figures_is_still_known() -> None:
    live = warned(card(), ("The column a predicts 0.991 of 120 rows.",))
    new = warned(card(test=0.95, live=0.9), ("The column a predicts 0.993 of 4,000 rows.",))
    assert why_ask(new, live, CHEAP, builders.settings(), serving=True) is None
