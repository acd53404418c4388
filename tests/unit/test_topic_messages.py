"""AWS's own messages in the words of a notice: the samples of events/, and what they may lack."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import EVENTS
from mlplatform.notices import NOT_UNDERSTOOD, Notice, Severity, from_event, from_sns, slack_blocks

BUDGET = json.loads((EVENTS / "budget_topic.json").read_text())
LINK = (
    "https://console.aws.amazon.com/cost-management/home#/anomaly-detection/monitors/abcdef12-1234-4ea0-84cc-"
    "918a97d736ef/anomalies/12345678-abcd-ef12-3456-987654321a12"
)


def content(name: str) -> dict[str, Any]:
    return json.loads((EVENTS / f"{name}.json").read_text())  # type: ignore[no-any-return]


def told(message: object, subject: str | None = None) -> Notice:
    """What becomes of a message on the topic."""
    text = message if isinstance(message, str) else json.dumps(message)
    return from_sns(
        {"Sns": {"TopicArn": "arn:aws:sns:us-east-1:123456789012:alerts", "Subject": subject, "Message": text}}
    )


# ----------------------------------------------------------------------------------------------------------- budgets
def test_a_budget_says_how_much_of_what_is_spent_and_what_that_is_worth_knowing() -> None:
    notice = told(BUDGET["Message"], BUDGET["Subject"])
    assert notice.subject == "Budget Test Budget: $0.59 of $0.20 spent (295 %)"
    assert notice.text == (
        "Spent this month: $0.59. The alert was set to $0.16. Budgeted: $0.20 a month.\n\nAccount 123456789012. AWS "
        "Budgets looks some hours back and stops nothing; `mlp summary` shows what runs now."
    )
    assert notice.severity is Severity.CRITICAL


@pytest.mark.parametrize(
    ("changes", "subject", "severity"),
    [
        ([("$0.59", "$0.17")], "Budget Test Budget: $0.17 of $0.20 spent (85 %)", Severity.WARNING),
        ([("ACTUAL", "FORECASTED")], "Budget Test Budget: $0.59 forecast, $0.20 budgeted (295 %)", Severity.WARNING),
        ([("$0.59", "$1,234.50"), ("$0.20", "$1,000")],
         "Budget Test Budget: $1,234.50 of $1,000 spent (123 %)", Severity.CRITICAL),
        ([("Budgeted Amount: $0.20\n", "")], "Budget Test Budget: $0.59 spent", Severity.WARNING),
        ([("is $0.59", "is high"), ("ACTUAL Amount: $0.59\n", "")],
         "Budget Test Budget: more than $0.16 spent", Severity.WARNING),
    ],
)  # fmt: skip
def test_a_budget_is_told_with_what_its_message_has(
    changes: list[tuple[str, str]], subject: str, severity: Severity
) -> None:
    message = BUDGET["Message"]
    for old, new in changes:
        message = message.replace(old, new)
    notice = told(message, BUDGET["Subject"])
    assert (notice.subject, notice.severity) == (subject, severity)


def test_a_budgets_message_in_words_that_nobody_knows_is_passed_on_whole_and_marked() -> None:
    notice = told("Lieber Kunde, Ihr Budget ist erschöpft.", "AWS Budgets: x")
    assert notice.subject == "AWS Budgets: x"
    assert notice.text == f"{NOT_UNDERSTOOD}\n\nLieber Kunde, Ihr Budget ist erschöpft."


# --------------------------------------------------------------------------------------------------------- anomalies
def test_an_anomaly_tells_how_much_too_much_for_what_since_when_and_why() -> None:
    notice = told(content("cost_anomaly_topic"))
    assert notice.subject == "Cost anomaly: $1,001.00 too much for ServiceName"
    assert notice.text == (
        "$1,301.00 was spent where $300.00 was to be expected (333.67 % more). On 2021-05-25.\n\nPerhaps because of "
        "AnomalousServiceName, AnomalousRegionName, AnomalousUsageType, account AnomalousLinkedAccountName: $601.00."
        f"\n\n{LINK}"
    )
    assert notice.severity is Severity.WARNING


def test_an_anomaly_as_an_event_says_the_same_in_its_other_spelling() -> None:
    event = content("cost_anomaly_event")
    assert told(event).subject == "Cost anomaly: $1,001.00 too much for <dimension value>"
    assert from_event(event) == told(event)


@pytest.mark.parametrize("lacking", ["dimensionalValue", "rootCauses", "anomalyEndDate", "anomalyDetailsLink"])
def test_an_anomaly_is_told_without_what_it_lacks(lacking: str) -> None:
    said = content("cost_anomaly_topic")
    del said[lacking]
    assert told(said).subject.startswith("Cost anomaly: $1,001.00 too much for ")


def test_an_anomaly_of_something_that_never_cost_anything_has_no_percentage() -> None:
    said = content("cost_anomaly_topic")
    said["impact"] = {"maxImpact": 12.5, "totalImpact": 12.5}
    notice = told(said)
    assert notice.subject == "Cost anomaly: $12.50 too much for ServiceName"
    assert notice.text.startswith("On 2021-05-25.\n\n")


# ------------------------------------------------------------------------------------------------------------ alarms
ALARMS = {
    "alarm_topic": ("Test alarm", "Was INSUFFICIENT_DATA, in Canada (Central)."),
    "alarm_function": ("lambda-demo-metric-alarm", "Was INSUFFICIENT_DATA, in us-east-1."),
    "alarm_event": ("ServerCpuTooHigh", "Was OK, in us-east-1."),
}


@pytest.mark.parametrize("name", ALARMS)
def test_an_alarm_is_the_same_in_each_of_its_three_shapes(name: str) -> None:
    alarm, before = ALARMS[name]
    for notice in (told(content(name)), from_event(content(name))):
        assert notice is not None
        assert (notice.subject, notice.severity) == (f"ALARM: {alarm}", Severity.CRITICAL)
        assert notice.text.endswith(before)


@pytest.mark.parametrize(
    ("state", "severity"), [("OK", Severity.INFO), ("INSUFFICIENT_DATA", Severity.WARNING), ("NEW", Severity.WARNING)]
)
def test_an_alarm_that_is_none_any_more_is_less_urgent(state: str, severity: Severity) -> None:
    event = content("alarm_event")
    event["detail"]["state"] = {"value": state}
    assert told(event).severity is severity


# ------------------------------------------------------------------------------------------------------------ health
def test_aws_health_tells_what_where_and_whom_it_concerns() -> None:
    notice = told(content("health_event"))
    assert notice.subject == "AWS Health: EC2 scheduled change in us-east-1"
    assert notice.text == (
        "A description of the event will be provided here\n\n"
        "Affected: arn:aws:ec2:us-east-1:123456789012:instance/i-1234567890abcdef0.\n\n"
        "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED from Thu, 27 Aug 2026 13:19:03 GMT.\n\n"
        "arn:aws:health:us-east-1::event/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED_90353408594353983"
    )
    assert notice.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("category", "status", "severity"),
    [
        ("issue", "open", Severity.CRITICAL),
        ("issue", "closed", Severity.INFO),
        ("accountNotification", "open", Severity.WARNING),
        ("something new", "open", Severity.WARNING),
    ],
)
def test_an_issue_is_urgent_until_it_is_closed(category: str, status: str, severity: Severity) -> None:
    event = content("health_event")
    event["detail"] |= {"eventTypeCategory": category, "statusCode": status}
    assert told(event).severity is severity


def test_a_leaked_key_that_aws_names_is_not_spread_further() -> None:
    event = content("health_event")
    event["detail"]["affectedEntities"] = [{"entityValue": "AKIA" + "ABCDEFGHIJKLMNOP"}]
    assert "ABCDEFGHIJKLMNOP" not in json.dumps(slack_blocks(told(event)))


# ------------------------------------------------------------------------------------------------- whatever else comes
@pytest.mark.parametrize(
    "message",
    [
        {"detail-type": "Anomaly Detected", "detail": "{}"},
        {"detail-type": "CloudWatch Alarm State Change", "detail": {"alarmName": "x"}},
        {"detail-type": "AWS Health Event"},
        {"anomalyId": "x", "impact": "much"},
        {"alarmData": {"alarmName": 1}},
        {"requestContext": "none"},
        {"detail-type": ["odd"], "detail": [1]},
    ],
)
def test_what_only_looks_like_a_known_message_is_passed_on_whole_and_marked(message: dict[str, Any]) -> None:
    notice = told(message)
    assert notice.text == f"{NOT_UNDERSTOOD}\n\n{json.dumps(message, indent=2)}"
    assert from_event(message) is None


@pytest.mark.parametrize("name", ["cost_anomaly_topic", "health_event", *ALARMS])
@pytest.mark.parametrize("odd", [None, 3, "text", [], {}, [None], {"a": None}])
def test_no_oddity_in_a_field_loses_the_message(name: str, odd: object) -> None:
    whole = content(name)
    for key in whole:
        assert told({**whole, key: odd}).subject
    for part in ("detail", "alarmData"):
        for key in whole.get(part, {}):
            assert told({**whole, part: {**whole[part], key: odd}}).subject
