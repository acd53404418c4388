"""AWS Budgets' prose, as real messages had it from 2019 to 2026."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from builders import EVENTS
from mlplatform.budget_messages import BudgetMessage, read

SAMPLE = json.loads((EVENTS / "budget_topic.json").read_text())


def message(
    name: str = "Test Budget",
    *,
    kind: str = "ACTUAL",
    when: str = "for the current month. The",
    threshold: str = "$400.00",
    amount: str = "$412.50",
    limit: str = "$500.00",
) -> str:
    """The sample's text about another budget."""
    return (
        "AWS Budget Notification November 23, 2026\nAWS Account 123456789012\n\nDear AWS Customer,\n\n"
        f"You requested that we alert you when the {kind} Cost associated with your {name} budget is greater than "
        f"{threshold} {when} {kind} Cost associated with this budget is {amount}. You can find additional details "
        "below and by accessing the AWS Budgets dashboard [1].\n\n"
        f"Budget Name: {name}\nBudget Type: Cost\nBudgeted Amount: {limit}\nAlert Type: {kind}\n"
        f"Alert Threshold: > {threshold}\n{kind} Amount: {amount}\n\n"
        "[1] https://console.aws.amazon.com/billing/home#/budgets\n"
    )


def understood(text: str, subject: str = "AWS Budgets: something") -> BudgetMessage:
    found = read(subject, text)
    assert found is not None
    return found


def test_a_real_message_is_read_in_all_its_parts() -> None:
    assert read(SAMPLE["Subject"], SAMPLE["Message"]) == BudgetMessage(
        budget="Test Budget",
        forecast=False,
        amount=Decimal("0.59"),
        threshold=Decimal("0.16"),
        limit=Decimal("0.20"),
        unit="$",
        period="month",
        account="123456789012",
    )
    assert understood(SAMPLE["Message"]).percent == 295


def test_a_daily_budget_is_of_yesterday() -> None:
    found = understood(message("killswitch", when="per day. Yesterday, the", threshold="$0.00", amount="$2.15"))
    assert (found.budget, found.period, found.amount, found.threshold) == ("killswitch", "day", Decimal("2.15"), 0)


def test_a_forecast_is_one_and_exceeds_nothing_yet() -> None:
    found = understood(message(kind="FORECASTED", threshold="$500.00", amount="$1,000,000,000.00"))
    assert (found.forecast, found.exceeded, found.amount) == (True, False, Decimal("1000000000.00"))


@pytest.mark.parametrize(
    ("amount", "exceeded"), [("$499.99", False), ("$500.00", True), ("$1,234.56", True), ("-$3.00", False)]
)
def test_all_that_was_budgeted_is_spent_when_it_is(amount: str, exceeded: bool) -> None:
    assert understood(message(amount=amount)).exceeded is exceeded


@pytest.mark.parametrize(
    ("written", "number", "unit"),
    [
        ("$1,234.56", "1234.56", "$"),
        ("$1,234,567", "1234567", "$"),
        ("-$0.50", "-0.50", "$"),
        ("$-0.50", "-0.50", "$"),
        ("€99.10", "99.10", "€"),
        ("USD 12.00", "12.00", "USD"),
        ("12.5 GB", "12.5", "GB"),
        ("80%", "80", "%"),
    ],
)
def test_amounts_have_separators_signs_and_units(written: str, number: str, unit: str) -> None:
    found = understood(message(amount=written))
    assert (found.amount, found.unit) == (Decimal(number), unit)


@pytest.mark.parametrize(
    "name",
    [
        "budget",
        "My Zero-Spend Budget",
        "a budget is greater than b",
        "50% of $100: no",
        "größe (dev) [1]",
        "AWS Budgets",
        "x" * 100,
        "Alert Type",
    ],
)
def test_a_budget_may_have_any_name(name: str) -> None:
    assert understood(message(name)).budget == name


@pytest.mark.parametrize("label", ["Budget Name", "Budgeted Amount", "Alert Type", "Alert Threshold", "ACTUAL Amount"])
def test_the_sentence_fills_in_for_a_label_that_is_missing(label: str) -> None:
    text = "\n".join(line for line in message().splitlines() if not line.startswith(label))
    found = understood(text)
    assert (found.budget, found.forecast, found.amount, found.threshold) == (
        "Test Budget",
        False,
        Decimal("412.50"),
        Decimal("400.00"),
    )
    assert (found.limit is None) is (label == "Budgeted Amount")


def test_the_labels_fill_in_for_a_sentence_that_has_changed() -> None:
    text = message().replace("You requested that we alert you when", "As you wished, here is a word, for")
    assert understood(text) == understood(message())


@pytest.mark.parametrize(
    ("text", "amount", "threshold", "limit"),
    [
        # 2025, an e-mail's words with its table of tabs
        (
            "Dear AWS Customer,\n\nYou requested that we alert you when the actual cost associated with your My "
            "Zero-Spend Budget budget exceeds $0.01 for the current month. The month actual cost associated with "
            "this budget is $0.60. You can find additional details below and by accessing the AWS Budgets "
            "dashboard.\n\nBudget Name\tBudget Type\tBudgeted Amount\tAlert Type\tAlert Threshold\tACTUAL Amount\n"
            "My Zero-Spend Budget\tCost\t$1.00\tACTUAL\t> $0.01\t$0.60\n",
            "0.60", "0.01", "1.00",
        ),
        # 2020, broken over lines, without the link
        (
            "You requested that we alert you when the ACTUAL Cost associated with your \nMy Zero-Spend Budget budget "
            "is greater than $10.00 for the current month. \n\nThe ACTUAL Cost associated with this budget is "
            "$15.00. \n\nBudget Name: My Zero-Spend Budget\r\nBudgeted Amount: $10.00\r\nAlert Type: ACTUAL\r\n",
            "15.00", "10.00", "10.00",
        ),
        # 2026, with the percentage
        (
            "You requested that we alert you when the ACTUAL Cost associated with your My Zero-Spend Budget budget is "
            "greater than $1.60 (80.0% of your budget).",
            None, "1.60", None,
        ),
    ],
)  # fmt: skip
def test_other_years_had_other_words(text: str, amount: str | None, threshold: str, limit: str | None) -> None:
    found = understood(text)
    assert found.budget == "My Zero-Spend Budget"
    assert (found.amount, found.threshold, found.limit) == tuple(
        None if one is None else Decimal(one) for one in (amount, threshold, limit)
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain words",
        "Dear AWS Customer, your budget is fine.",
        "Budget Name: x",  # and nothing that says how much
        "Alert Type: ACTUAL\nACTUAL Amount: $3.00",  # of what?
        message(amount="a lot", threshold="much"),
    ],
)
def test_what_is_not_sure_is_not_understood(text: str) -> None:
    assert read("Something else", text) is None


def test_a_long_message_ends() -> None:
    """A topic takes a quarter of a megabyte of anything; a pattern that backtracks would not return."""
    for text in ("alert you when the actual " * 10_000, "associated with your budget " * 9_000, "\t" * 250_000):
        assert read("AWS Budgets: x", text) is None
