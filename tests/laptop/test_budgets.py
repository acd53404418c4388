"""Budgets watch the bill and tell, once per threshold and period and in AWS's own words, what was passed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from billed_account import BilledAccount, billed_account

from laptop import budgets, cost_explorer
from laptop.account import Account
from laptop.budgets import Budgets
from laptop.errors import ServiceError
from laptop.server import running

MONTHLY = "ml-platform-monthly-budget"
PROJECT = {"TagKeyValue": ["user:Project$ml-platform"]}
MAIL = {"SubscriptionType": "EMAIL", "Address": "who@example.org"}


class Mail:
    """An inbox that remembers."""

    def __init__(self) -> None:
        self.sent: list[tuple[str | None, str, str]] = []

    def add(self, channel: str, text: str, *, subject: str | None = None, blocks: Any = None, to: str = "") -> None:
        self.sent.append((subject, text, to))


class Here:
    """An account with a bill, Cost Explorer and budgets; nothing happens between two calls of a test."""

    def __init__(self, account: BilledAccount) -> None:
        self.account = account
        self.mail = Mail()
        account.inbox = self.mail
        cost_explorer.install(account)
        self.budgets = Budgets(account, account.bill)  # type: ignore[arg-type]
        account.operations["budgets"] = self.budgets.operations()
        account.clock.subscribe(lambda old, new: self.budgets.evaluate())

    def call(self, operation: str, **request: Any) -> dict[str, Any]:
        return self.account.call("budgets", operation, AccountId="123456789012", **request)

    def budget(self, *thresholds: dict[str, Any], limit: str = "500", **changes: Any) -> None:
        definition = {
            "BudgetName": MONTHLY,
            "BudgetLimit": {"Amount": limit, "Unit": "USD"},
            "TimeUnit": "MONTHLY",
            "BudgetType": "COST",
            **changes,
        }
        entries = [{"Notification": threshold, "Subscribers": [MAIL]} for threshold in thresholds]
        self.call("CreateBudget", Budget=definition, NotificationsWithSubscribers=entries)

    def spend(self, usd: float, **more: Any) -> list[str]:
        """Puts an amount on the bill; the texts of what was told then."""
        self.account.put(usd, **more)
        return self.told()

    def told(self) -> list[str]:
        before = len(self.mail.sent)
        self.budgets.evaluate()
        return [text for _, text, _ in self.mail.sent[before:]]

    def shown(self) -> dict[str, Any]:
        budget: dict[str, Any] = self.call("DescribeBudget", BudgetName=MONTHLY)["Budget"]
        return budget


@pytest.fixture
def here() -> Here:
    return Here(billed_account(2026, 11, 23, 9, 0))


def actual(threshold: float, **changes: Any) -> dict[str, Any]:
    return {"NotificationType": "ACTUAL", "ComparisonOperator": "GREATER_THAN", "Threshold": threshold, **changes}


def forecasted(threshold: float) -> dict[str, Any]:
    return {**actual(threshold), "NotificationType": "FORECASTED"}


def refusal(here: Here, operation: str, **request: Any) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        here.call(operation, **request)
    return refused.value


def test_the_message_is_the_one_that_aws_sends(here: Here) -> None:
    here.budget(actual(80), limit="1500")
    (text,) = here.spend(1234.565, day="2026-11-20")
    assert here.mail.sent[0][0] == "AWS Budgets: ml-platform-monthly-budget has exceeded your alert threshold"
    assert text == (
        "AWS Budget Notification November 23, 2026\n"
        "AWS Account 123456789012\n"
        "\n"
        "Dear AWS Customer,\n"
        "\n"
        "You requested that we alert you when the ACTUAL Cost associated with your ml-platform-monthly-budget budget "
        "is greater than $1,200.00 for the current month. The ACTUAL Cost associated with this budget is $1,234.57. "
        "You can find additional details below and by accessing the AWS Budgets dashboard [1].\n"
        "\n"
        "Budget Name: ml-platform-monthly-budget\n"
        "Budget Type: Cost\n"
        "Budgeted Amount: $1,500.00\n"
        "Alert Type: ACTUAL\n"
        "Alert Threshold: > $1,200.00\n"
        "ACTUAL Amount: $1,234.57\n"
        "\n"
        "[1] https://console.aws.amazon.com/costmanagement/home#/budgets\n"
    )


def test_a_threshold_is_told_once_a_month_and_each_threshold_for_itself(here: Here) -> None:
    here.budget(actual(80), actual(100))
    assert here.spend(400) == []  # not greater than 400
    (eighty,) = here.spend(0.01)
    assert "is greater than $400.00 for the current month" in eighty
    assert here.spend(50) == []
    (hundred,) = here.spend(50)
    assert "is greater than $500.00" in hundred
    assert "is $500.01" in hundred
    here.account.clock.move(2026, 12, 1, 0, 0)
    assert here.told() == []
    assert len(here.spend(401)) == 1


def test_what_runs_passes_a_threshold_when_the_clock_is_moved(here: Here) -> None:
    endpoint = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/cancer"
    here.account.tags[endpoint] = {}
    here.budget(actual(1, ThresholdType="ABSOLUTE_VALUE"))
    here.account.bill.instance_started("i-1", "ml.m5.large", endpoint)
    here.account.clock.move(2026, 11, 23, 17, 0)  # 8 h x 0.115 = 0.92
    assert here.mail.sent == []
    here.account.clock.move(2026, 11, 23, 18, 0)  # 9 h x 0.115 = 1.035
    ((_, text, _),) = here.mail.sent
    assert "ACTUAL Amount: $1.04" in text


def test_a_tag_filter_needs_its_prefix_its_dollar_and_an_active_tag(here: Here) -> None:
    here.budget(actual(80), CostFilters=PROJECT)
    assert here.spend(450, tags={"Project": "ml-platform"}) == []
    assert here.shown()["CalculatedSpend"]["ActualSpend"]["Amount"] == "0.000"
    statuses = [{"TagKey": "Project", "Status": "Active"}]
    here.account.call("ce", "UpdateCostAllocationTagsStatus", CostAllocationTagsStatus=statuses)
    here.account.put(1000, tags={"Project": "other"})
    assert here.shown()["CalculatedSpend"]["ActualSpend"]["Amount"] == "450.000"
    assert len(here.told()) == 1
    for looks_right in ("Project$ml-platform", "user:Project", "user:project$ml-platform"):
        new = {**here.shown(), "CostFilters": {"TagKeyValue": [looks_right]}}
        here.call("UpdateBudget", NewBudget=new)
        assert here.shown()["CalculatedSpend"]["ActualSpend"]["Amount"] == "0.000"
    new.pop("CostFilters"), new.pop("CostTypes")
    new["FilterExpression"] = {"Tags": {"Key": "Project", "Values": ["ml-platform"]}}
    here.call("UpdateBudget", NewBudget=new)
    assert here.shown()["CalculatedSpend"]["ActualSpend"]["Amount"] == "450.000"


def test_filters_by_service_and_without_credits_and_tax(here: Here) -> None:
    services = {"Service": ["Amazon SageMaker", "AWS Lambda", "Tax"]}
    here.budget(CostFilters=services, CostTypes={"IncludeCredit": False, "IncludeTax": False})
    here.account.put(10)
    here.account.put(2, "AWS Lambda")
    here.account.put(3, "AmazonCloudWatch")
    here.account.put(1, "Tax")
    here.account.put(-5)
    assert here.shown()["CalculatedSpend"]["ActualSpend"] == {"Amount": "12.000", "Unit": "USD"}


def test_a_daily_budget_is_about_yesterday(here: Here) -> None:
    here.budget(actual(100), limit="5", TimeUnit="DAILY")
    assert here.spend(7) == []  # today is not over
    here.account.clock.move(2026, 11, 24, 0, 0)
    ((_, text, _),) = here.mail.sent
    assert "is greater than $5.00 per day. Yesterday, the ACTUAL Cost associated with this budget is $7.00." in text
    here.account.clock.move(2026, 11, 25, 0, 0)
    assert len(here.mail.sent) == 1


def test_a_forecast_is_told_only_after_five_weeks(here: Here) -> None:
    here.budget(forecasted(100), limit="500")
    for back in range(1, 35):
        here.account.put(20, day=(date(2026, 11, 23) - timedelta(days=back)).isoformat())
    assert here.told() == []
    assert "ForecastedSpend" not in here.shown()["CalculatedSpend"]
    (text,) = here.spend(20, day="2026-10-19")
    # 22 days of 20 USD, and as much on each of the 8 that are left with today
    assert (
        "greater than $500.00 for the current month. The FORECASTED Cost associated with this budget is $600.00" in text
    )
    assert "FORECASTED Amount: $600.00" in text
    assert here.shown()["CalculatedSpend"] == {
        "ActualSpend": {"Amount": "440.000", "Unit": "USD"},
        "ForecastedSpend": {"Amount": "600.000", "Unit": "USD"},
    }


def test_a_notification_shows_whether_it_is_passed_and_falls_back_without_a_word(here: Here) -> None:
    here.budget(actual(80))

    def state() -> str:
        (shown,) = here.call("DescribeNotificationsForBudget", BudgetName=MONTHLY)["Notifications"]
        return str(shown["NotificationState"])

    assert (len(here.spend(401)), state()) == (1, "ALARM")
    assert (here.spend(-100), state()) == ([], "OK")
    assert (here.spend(100), state()) == ([], "ALARM")


def test_notifications_and_subscribers_can_be_added_and_removed(here: Here) -> None:
    here.budget(actual(80))
    named = {"BudgetName": MONTHLY, "Notification": actual(80)}
    second = {"SubscriptionType": "EMAIL", "Address": "another@example.org"}
    here.call("CreateSubscriber", **named, Subscriber=second)
    assert here.call("DescribeSubscribersForNotification", **named)["Subscribers"] == [MAIL, second]
    here.account.put(450)
    here.told()
    assert [to for _, _, to in here.mail.sent] == ["who@example.org", "another@example.org"]
    here.call("DeleteSubscriber", **named, Subscriber=MAIL)
    assert here.call("DescribeSubscribersForNotification", **named)["Subscribers"] == [second]
    here.call("CreateNotification", BudgetName=MONTHLY, Notification=actual(100), Subscribers=[MAIL])
    here.call("DeleteNotification", **named)
    (left,) = here.call("DescribeNotificationsForBudget", BudgetName=MONTHLY)["Notifications"]
    assert (left["Threshold"], left["ThresholdType"]) == (100.0, "PERCENTAGE")
    assert refusal(here, "DeleteNotification", **named).code == "NotFoundException"


def test_what_aws_refuses_is_refused(here: Here) -> None:
    here.budget(actual(80))
    with pytest.raises(ServiceError) as twice:
        here.budget()
    assert twice.value.code == "DuplicateRecordException"
    topics = [{"SubscriptionType": "SNS", "Address": f"arn:aws:sns:us-east-1:123456789012:{name}"} for name in "ab"]
    new = {"BudgetName": MONTHLY, "Notification": actual(90), "Subscribers": topics}
    assert refusal(here, "CreateNotification", **new).code == "CreationLimitExceededException"
    definition = {"BudgetName": "b", "TimeUnit": "MONTHLY", "BudgetType": "COST"}
    limit = {"BudgetLimit": {"Amount": "5", "Unit": "USD"}}
    for wrong, named in (
        (definition, "Budget Limit"),
        ({**definition, **limit, "BudgetType": "USAGE"}, "USAGE"),
        ({**definition, "BudgetLimit": {"Amount": "5", "Unit": "EUR"}}, "EUR"),
        ({**definition, **limit, "CostFilters": {"Weather": ["x"]}}, "Weather"),
        ({**definition, **limit, "CostFilters": PROJECT, "Metrics": ["UnblendedCost"]}, "can't be combined"),
    ):
        error = refusal(here, "CreateBudget", Budget=wrong)
        assert error.code == "InvalidParameterException"
        assert named in error.message
    assert refusal(here, "DescribeBudget", BudgetName="b").code == "NotFoundException"
    with pytest.raises(ServiceError) as foreign:
        here.account.call("budgets", "DescribeBudgets", AccountId="999999999999")
    assert foreign.value.code == "AccessDeniedException"


# --- as part of the laptop -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def laptop() -> Iterator[Account]:
    with running() as account:
        yield account


def policy(topic: str, **condition: Any) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": budgets.PRINCIPAL},
        "Action": "sns:Publish",
        "Resource": topic,
        "Condition": condition,
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def stack(topic_policy: str) -> str:
    watched = {
        "BudgetName": {"Fn::Sub": "${AWS::StackName}-monthly-budget"},
        "BudgetLimit": {"Amount": 500, "Unit": "USD"},
        "TimeUnit": "MONTHLY",
        "BudgetType": "COST",
        "CostFilters": {"Service": ["Amazon SageMaker"]},
    }
    told = {
        "Notification": {**actual(80), "ThresholdType": "PERCENTAGE"},
        "Subscribers": [{"SubscriptionType": "SNS", "Address": {"Ref": "Alerts"}}],
    }
    subscription = {
        "SubscriptionName": "anomalies",
        "Frequency": "IMMEDIATE",
        "MonitorArnList": [{"Ref": "Monitor"}],
        "Subscribers": [{"Type": "SNS", "Address": {"Ref": "Alerts"}}],
        "ThresholdExpression": '{"Dimensions": {"Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE", "Values": ["20"], '
        '"MatchOptions": ["GREATER_THAN_OR_EQUAL"]}}',
    }
    monitor = {
        "MonitorName": "project",
        "MonitorType": "CUSTOM",
        "MonitorSpecification": '{"Tags": {"Key": "Project", "Values": ["ml-platform"]}}',
    }
    mail = [{"Protocol": "email", "Endpoint": "who@example.org"}]
    return json.dumps(
        {
            "Resources": {
                "Alerts": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": "alerts", "Subscription": mail}},
                "AlertsPolicy": {
                    "Type": "AWS::SNS::TopicPolicy",
                    "Properties": {"Topics": [{"Ref": "Alerts"}], "PolicyDocument": json.loads(topic_policy)},
                },
                "Budget": {
                    "Type": "AWS::Budgets::Budget",
                    "Properties": {"Budget": watched, "NotificationsWithSubscribers": [told]},
                },
                "Monitor": {"Type": "AWS::CE::AnomalyMonitor", "Properties": monitor},
                "Anomalies": {"Type": "AWS::CE::AnomalySubscription", "Properties": subscription},
            },
            "Outputs": {"BudgetName": {"Value": {"Ref": "Budget"}}},
        }
    )


def settled(account: Account, name: str) -> dict[str, Any] | None:
    client = account.client("cloudformation")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            shown: dict[str, Any] = client.describe_stacks(StackName=name)["Stacks"][0]
        except client.exceptions.ClientError:
            return None
        if not shown["StackStatus"].endswith("_IN_PROGRESS"):
            return shown
        time.sleep(0.02)
    raise AssertionError(shown)


def until_recorded(account: Account, after: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for entry in account.journal.entries(after):
            if entry["kind"] == "budget":
                return entry
        time.sleep(0.02)
    raise AssertionError("no budget was told")


@pytest.mark.parametrize(
    ("condition", "arrives"),
    [
        (
            {
                "StringEquals": {"aws:SourceAccount": "123456789012"},
                "ArnLike": {"aws:SourceArn": "arn:aws:budgets::123456789012:*"},
            },
            True,
        ),
        ({"StringEquals": {"aws:SourceAccount": "999999999999"}}, False),
    ],
)
def test_a_stacks_budget_reaches_its_topic_only_by_the_topics_policy(
    laptop: Account, condition: dict[str, Any], arrives: bool
) -> None:
    name = f"money-{arrives}".lower()
    topic = "arn:aws:sns:us-east-1:123456789012:alerts"
    seen, mails = len(laptop.journal.entries()), len(laptop.routes["GET /_laptop/inbox"]({}))
    client = laptop.client("cloudformation")
    client.create_stack(StackName=name, TemplateBody=stack(policy(topic, **condition)))
    made = settled(laptop, name)
    assert made is not None
    assert made["StackStatus"] == "CREATE_COMPLETE"
    assert made["Outputs"][0]["OutputValue"] == f"{name}-monthly-budget"
    laptop.routes["POST /_laptop/bill"]({"service": "Amazon SageMaker", "usd": 401})
    entry = until_recorded(laptop, seen)
    arrived = laptop.routes["GET /_laptop/inbox"]({})[mails:]
    if arrives:
        assert arrived[0]["subject"] == f"AWS Budgets: {name}-monthly-budget has exceeded your alert threshold"
        assert "error" not in entry
    else:
        assert arrived == []
        assert "does not let budgets.amazonaws.com publish" in entry["error"]
    client.delete_stack(StackName=name)
    settled(laptop, name)
    assert laptop.client("budgets").describe_budgets(AccountId="123456789012").get("Budgets", []) == []
    left = laptop.client("ce").get_anomaly_monitors()["AnomalyMonitors"]
    assert [monitor["MonitorName"] for monitor in left] == ["Default-Services-Monitor"]
    assert laptop.client("ce").get_anomaly_subscriptions()["AnomalySubscriptions"] == []
