"""Cost Explorer answers from the bill as AWS does: texts, exclusive ends, estimates, groups, pages and refusals."""

from __future__ import annotations

import json
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import boto3
import pytest
from billed_account import BilledAccount, bill_of, billed_account
from botocore.exceptions import ClientError

from laptop import anomalies, cost_explorer
from laptop.cost_explorer import CostExplorer
from laptop.errors import ServiceError
from laptop.server import running


@pytest.fixture
def account() -> BilledAccount:
    """Monday 2026-11-23. SageMaker: 3 USD in October, 1.25 on Saturday, 2.50 on Sunday, of two projects; and others."""
    account = billed_account(2026, 11, 23, 9, 0)
    cost_explorer.install(account)
    account.put("3", day="2026-10-30", tags={"Project": "a"})
    account.put("1.25", day="2026-11-21", tags={"Project": "a", "Team": "x"}, usage_type="USE1-Host:ml.m5.large")
    account.put("2.50", day="2026-11-22", tags={"Project": "b$c"}, usage_type="USE1-Host:ml.m5.large")
    account.put("0.10", "Amazon Simple Storage Service", day="2026-11-22")
    account.put("0.26", "Tax", day="2026-11-22")
    account.put("-0.50", "Amazon SageMaker", day="2026-11-22", record_type="Refund")
    return account


def ask(account: BilledAccount, start: str = "2026-11-21", end: str = "2026-11-23", **more: Any) -> dict[str, Any]:
    request = {"Granularity": "DAILY", "Metrics": ["UnblendedCost"], "TimePeriod": {"Start": start, "End": end}, **more}
    return account.call("ce", "GetCostAndUsage", **request)


def groups(result: dict[str, Any]) -> dict[tuple[str, ...], str]:
    return {tuple(group["Keys"]): group["Metrics"]["UnblendedCost"]["Amount"] for group in result["Groups"]}


def activate(account: BilledAccount, *keys: str) -> None:
    account.call(
        "ce",
        "UpdateCostAllocationTagsStatus",
        CostAllocationTagsStatus=[{"TagKey": key, "Status": "Active"} for key in keys],
    )


def refusal(account: BilledAccount, operation: str, **request: Any) -> ServiceError:
    with pytest.raises(ServiceError) as refused:
        account.call("ce", operation, **request)
    return refused.value


def test_days_have_their_totals_as_texts_and_the_end_is_not_one_of_them(account: BilledAccount) -> None:
    saturday, sunday = ask(account)["ResultsByTime"]
    assert saturday == {
        "TimePeriod": {"Start": "2026-11-21", "End": "2026-11-22"},
        "Total": {"UnblendedCost": {"Amount": "1.25", "Unit": "USD"}},
        "Groups": [],
        "Estimated": False,
    }
    assert sunday["Total"]["UnblendedCost"]["Amount"] == "2.36"  # 2.50 + 0.10 + 0.26 - 0.50


def test_yesterday_and_today_are_estimates_and_so_is_their_month(account: BilledAccount) -> None:
    days = ask(account, "2026-11-20", "2026-11-24")["ResultsByTime"]
    assert [day["Estimated"] for day in days] == [False, False, True, True]
    months = ask(account, "2026-10-01", "2026-12-01", Granularity="MONTHLY")["ResultsByTime"]
    assert [month["Estimated"] for month in months] == [False, True]


def test_months_are_cut_to_the_period_that_was_asked_for(account: BilledAccount) -> None:
    months = ask(account, "2026-10-20", "2026-11-22", Granularity="MONTHLY")["ResultsByTime"]
    assert [(one["TimePeriod"]["Start"], one["TimePeriod"]["End"]) for one in months] == [
        ("2026-10-20", "2026-11-01"),
        ("2026-11-01", "2026-11-22"),
    ]
    assert [one["Total"]["UnblendedCost"]["Amount"] for one in months] == ["3", "1.25"]


def test_a_grouped_answer_has_an_empty_total_and_its_groups_add_up(account: BilledAccount) -> None:
    answer = ask(
        account, GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "DIMENSION", "Key": "RECORD_TYPE"}]
    )
    _, sunday = answer["ResultsByTime"]
    assert sunday["Total"] == {}
    assert groups(sunday) == {
        ("Amazon SageMaker", "Refund"): "-0.5",
        ("Amazon SageMaker", "Usage"): "2.5",
        ("Amazon Simple Storage Service", "Usage"): "0.1",
        ("Tax", "Tax"): "0.26",
    }
    assert len(answer["GroupDefinitions"]) == 2


def test_a_tag_shows_only_the_empty_value_until_it_is_activated(account: BilledAccount) -> None:
    by_project = {"GroupBy": [{"Type": "TAG", "Key": "Project"}]}
    assert [groups(day) for day in ask(account, **by_project)["ResultsByTime"]] == [
        {("Project$",): "1.25"},
        {("Project$",): "2.36"},
    ]
    activate(account, "Project")
    assert [groups(day) for day in ask(account, **by_project)["ResultsByTime"]] == [
        {("Project$a",): "1.25"},
        {("Project$",): "-0.14", ("Project$b$c",): "2.5"},
    ]


def test_a_tag_can_be_activated_once_something_with_it_was_billed_and_only_then(account: BilledAccount) -> None:
    error = refusal(
        account,
        "UpdateCostAllocationTagsStatus",
        CostAllocationTagsStatus=[{"TagKey": key, "Status": "Active"} for key in ("Project", "Owner", "CostCenter")],
    )
    assert error.code == "ValidationException"
    assert error.message == "Failed to update Cost Allocation Tag: Tag keys not found: Owner,CostCenter"
    listed = account.call("ce", "ListCostAllocationTags")["CostAllocationTags"]
    assert [(tag["TagKey"], tag["Status"]) for tag in listed] == [("Project", "Inactive"), ("Team", "Inactive")]
    activate(account, "Project")
    (active,) = account.call("ce", "ListCostAllocationTags", Status="Active")["CostAllocationTags"]
    assert active["TagKey"] == "Project"
    assert active["LastUsedDate"] == "2026-11-22T00:00:00Z"
    assert active["LastUpdatedDate"] == "2026-11-23T09:00:00Z"


@pytest.mark.parametrize(
    ("expression", "sunday"),
    [
        ({"Dimensions": {"Key": "SERVICE", "Values": ["Tax"]}}, "0.26"),
        ({"Dimensions": {"Key": "SERVICE", "Values": ["Amazon S"], "MatchOptions": ["STARTS_WITH"]}}, "2.1"),
        ({"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Tax", "Refund", "Credit"]}}}, "2.6"),
        ({"Dimensions": {"Key": "INSTANCE_TYPE", "Values": ["ml.m5.large"]}}, "2.5"),
        ({"Tags": {"Key": "Project", "Values": ["b$c"]}}, "2.5"),
        ({"Tags": {"Key": "Project", "MatchOptions": ["ABSENT"]}}, "-0.14"),
        ({"Tags": {"Key": "Team", "Values": ["x"]}}, "0"),
        (
            {
                "And": [
                    {
                        "Or": [
                            {"Dimensions": {"Key": "SERVICE", "Values": [name]}} for name in ("Tax", "Amazon SageMaker")
                        ]
                    },
                    {"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": ["Refund"]}}},
                ]
            },
            "2.76",
        ),
    ],
)
def test_a_filter_leaves_what_it_describes(account: BilledAccount, expression: dict[str, Any], sunday: str) -> None:
    activate(account, "Project")
    answer = ask(account, Filter=expression)["ResultsByTime"]
    assert answer[1]["Total"]["UnblendedCost"]["Amount"] == sunday


def test_an_answered_page_costs_a_cent_and_a_refused_one_nothing(account: BilledAccount) -> None:
    ask(account)
    refusal(account, "GetCostAndUsage", Granularity="DAILY", Metrics=["Fun"], TimePeriod={"Start": "a", "End": "b"})
    account.call("ce", "GetTags", TimePeriod={"Start": "2026-11-01", "End": "2026-11-23"})
    account.call("ce", "ListCostAllocationTags")
    (line,) = [line for line in bill_of(account).lines() if line.service == "AWS Cost Explorer"]
    assert (line.day, line.usd) == (date(2026, 11, 23), Decimal("0.02"))


def test_pages_together_are_the_whole_answer(account: BilledAccount) -> None:
    question = {"start": "2026-10-29", "end": "2026-11-23", "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}]}
    whole = ask(account, **question)
    explorer = CostExplorer(account, bill_of(account))
    explorer.rows_per_page = 2
    account.operations["ce"].update(explorer.operations())
    found: dict[tuple[str, ...], str] = {}
    days, token, pages = set(), None, 0
    while True:
        page = ask(account, **question, **({"NextPageToken": token} if token else {}))
        pages += 1
        for day in page["ResultsByTime"]:
            days.add(day["TimePeriod"]["Start"])
            found.update({(day["TimePeriod"]["Start"], *keys): usd for keys, usd in groups(day).items()})
        token = page.get("NextPageToken")
        if token is None:
            break
    expected = {
        (day["TimePeriod"]["Start"], *keys): usd for day in whole["ResultsByTime"] for keys, usd in groups(day).items()
    }
    assert found == expected
    assert len(days) == 25
    assert pages == 14  # 24 days have one row each, Sunday three


def test_a_token_is_good_for_its_own_question_only(account: BilledAccount) -> None:
    explorer = CostExplorer(account, bill_of(account))
    explorer.rows_per_page = 1
    account.operations["ce"].update(explorer.operations())
    token = ask(account)["NextPageToken"]
    period = {"Start": "2026-11-21", "End": "2026-11-24"}
    question = {"Granularity": "DAILY", "Metrics": ["UnblendedCost"], "TimePeriod": period}
    assert refusal(account, "GetCostAndUsage", **question, NextPageToken=token).code == "RequestChangedException"
    assert refusal(account, "GetCostAndUsage", **question, NextPageToken="x").code == "InvalidNextTokenException"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"TimePeriod": {"Start": "2026-11-23", "End": "2026-11-23"}},
            "Start date (and hour) should be before end date",
        ),
        ({"TimePeriod": {"Start": "2026-11-23", "End": "2026-12-02"}}, "end date past the beginning of next month"),
        ({"TimePeriod": {"Start": "2025-08-31", "End": "2026-11-01"}}, "beyond 14 months"),
        ({"Granularity": "HOURLY"}, "Hourly"),
        ({"Metrics": ["Cost"]}, "Invalid metric: Cost"),
        ({"Metrics": []}, "At least one metric"),
        ({"GroupBy": [{"Type": "TAG", "Key": key} for key in "abc"]}, "at most two"),
        ({"Filter": {"Dimensions": {"Key": "AZ", "Values": ["x"]}}}, "no dimension AZ"),
        ({"Filter": {"Not": {}}}, "exactly one root"),
        ({"Filter": {"Tags": {"Key": "a"}, "Not": {"Tags": {"Key": "b"}}}}, "exactly one root"),
    ],
)
def test_a_bad_question_is_refused(account: BilledAccount, change: dict[str, Any], message: str) -> None:
    question = {"Granularity": "DAILY", "Metrics": ["UnblendedCost"]}
    period = {"TimePeriod": {"Start": "2026-11-21", "End": "2026-11-23"}}
    error = refusal(account, "GetCostAndUsage", **{**question, **period, **change})
    assert error.code == "ValidationException"
    assert message in error.message


def forecast(account: BilledAccount, start: str = "2026-11-23", end: str = "2026-12-01", **more: Any) -> dict[str, Any]:
    request = {"TimePeriod": {"Start": start, "End": end}, "Metric": "UNBLENDED_COST", "Granularity": "DAILY", **more}
    return account.call("ce", "GetCostForecast", **request)


def test_without_five_weeks_of_history_there_is_no_forecast(account: BilledAccount) -> None:
    with pytest.raises(ServiceError, match="Insufficient amount of historical data") as refused:
        forecast(account)
    assert refused.value.code == "DataUnavailableException"


def history(account: BilledAccount) -> None:
    """A dollar on every Sunday to Thursday and three on Fridays and Saturdays, for five weeks; 100 today."""
    for back in range(1, 36):
        day = date(2026, 11, 23) - timedelta(days=back)
        account.put(3 if day.isoweekday() in (5, 6) else 1, day=day.isoformat())
    account.put(100)


def test_the_forecast_is_what_the_last_four_weeks_were_like() -> None:
    account = billed_account(2026, 11, 23, 9, 0)
    cost_explorer.install(account)
    history(account)
    answer = forecast(account)
    # (5 x 1 + 2 x 3) / 7 a day, for eight days
    assert answer["Total"] == {"Amount": "12.5714285714", "Unit": "USD"}
    assert len(answer["ForecastResultsByTime"]) == 8
    (month,) = forecast(account, Granularity="MONTHLY", PredictionIntervalLevel=95)["ForecastResultsByTime"]
    low, mean, high = (
        Decimal(month[name]) for name in ("PredictionIntervalLowerBound", "MeanValue", "PredictionIntervalUpperBound")
    )
    assert low < mean == Decimal("12.5714285714") < high


@pytest.mark.parametrize(("start", "end"), [("2026-11-22", "2026-12-01"), ("2026-11-24", "2026-12-01")])
def test_a_forecast_begins_today(account: BilledAccount, start: str, end: str) -> None:
    with pytest.raises(ServiceError, match="current date") as refused:
        forecast(account, start, end)
    assert refused.value.code == "ValidationException"


def test_tags_and_dimensions_list_their_values_in_pages(account: BilledAccount) -> None:
    period = {"TimePeriod": {"Start": "2026-11-01", "End": "2026-11-24"}}
    assert account.call("ce", "GetTags", **period)["Tags"] == []
    activate(account, "Project", "Team")
    assert account.call("ce", "GetTags", **period)["Tags"] == ["Project", "Team"]
    first = account.call("ce", "GetTags", **period, TagKey="Project", MaxResults=2)
    assert (first["Tags"], first["ReturnSize"], first["TotalSize"]) == (["", "a"], 2, 3)
    last = account.call("ce", "GetTags", **period, TagKey="Project", MaxResults=2, NextPageToken=first["NextPageToken"])
    assert last["Tags"] == ["b$c"]
    assert "NextPageToken" not in last
    services = account.call("ce", "GetDimensionValues", **period, Dimension="SERVICE", SearchString="Amazon")
    assert [value["Value"] for value in services["DimensionValues"]] == [
        "Amazon SageMaker",
        "Amazon Simple Storage Service",
    ]


# --- anomaly monitors ------------------------------------------------------------------------------------------------

CUSTOM = {
    "MonitorName": "project",
    "MonitorType": "CUSTOM",
    "MonitorSpecification": {"Tags": {"Key": "Project", "Values": ["a"]}},
}
SERVICES = {"MonitorName": "services", "MonitorType": "DIMENSIONAL", "MonitorDimension": "SERVICE"}
TOPIC = [{"Type": "SNS", "Address": "arn:aws:sns:us-east-1:123456789012:alerts"}]
MAIL = [{"Type": "EMAIL", "Address": "who@example.org"}]
THRESHOLD = {
    "Dimensions": {
        "Key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
        "MatchOptions": ["GREATER_THAN_OR_EQUAL"],
        "Values": ["20"],
    }
}


@pytest.fixture
def watched() -> BilledAccount:
    account = billed_account(2026, 11, 23, 9, 0)
    anomalies.install(account)
    return account


def subscription(monitor: str, **changes: Any) -> dict[str, Any]:
    return {
        "SubscriptionName": "alerts",
        "MonitorArnList": [monitor],
        "Frequency": "IMMEDIATE",
        "Subscribers": TOPIC,
        "ThresholdExpression": THRESHOLD,
        **changes,
    }


def test_an_account_has_its_one_monitor_of_all_services_from_the_start_and_may_have_others(
    watched: BilledAccount,
) -> None:
    error = refusal(watched, "CreateAnomalyMonitor", AnomalyMonitor=SERVICES)
    assert error.message == "Limit exceeded on dimensional spend monitor creation"
    watched.call("ce", "CreateAnomalyMonitor", AnomalyMonitor=CUSTOM)
    watched.call("ce", "CreateAnomalyMonitor", AnomalyMonitor=CUSTOM)
    monitors = watched.call("ce", "GetAnomalyMonitors")["AnomalyMonitors"]
    assert [one["MonitorName"] for one in monitors] == ["Default-Services-Monitor", "project", "project"]
    watched.call("ce", "DeleteAnomalyMonitor", MonitorArn=monitors[0]["MonitorArn"])
    watched.call("ce", "CreateAnomalyMonitor", AnomalyMonitor=SERVICES)


def test_a_topic_is_told_at_once_and_mail_once_a_day(watched: BilledAccount) -> None:
    arn = watched.call("ce", "CreateAnomalyMonitor", AnomalyMonitor=CUSTOM)["MonitorArn"]
    made = watched.call("ce", "CreateAnomalySubscription", AnomalySubscription=subscription(arn))["SubscriptionArn"]
    daily = subscription(arn, Frequency="DAILY", Subscribers=MAIL)
    watched.call("ce", "CreateAnomalySubscription", AnomalySubscription=daily)
    for wrong, message in (
        (subscription(arn, Frequency="DAILY"), "only support Email"),
        (subscription(arn, Subscribers=MAIL), "only supports SNS"),
        (subscription(arn, Threshold=20.0), "either Threshold or ThresholdExpression"),
    ):
        error = refusal(watched, "CreateAnomalySubscription", AnomalySubscription=wrong)
        assert message in error.message
    unknown = refusal(watched, "CreateAnomalySubscription", AnomalySubscription=subscription("arn:aws:ce::1:x/y"))
    assert unknown.code == "UnknownMonitorException"
    listed = watched.call("ce", "GetAnomalySubscriptions", MonitorArn=arn)["AnomalySubscriptions"]
    assert [one["Frequency"] for one in listed] == ["IMMEDIATE", "DAILY"]
    watched.call("ce", "DeleteAnomalySubscription", SubscriptionArn=made)
    assert refusal(watched, "DeleteAnomalySubscription", SubscriptionArn=made).code == "UnknownSubscriptionException"


# --- over the wire ---------------------------------------------------------------------------------------------------


def test_a_role_needs_the_permission_and_any_region_reaches_it() -> None:
    with running() as account:
        iam = account.client("iam")
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(RoleName="reader", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        question: dict[str, Any] = {
            "TimePeriod": {
                "Start": (account.clock.now().date() - timedelta(days=1)).isoformat(),
                "End": account.clock.now().date().isoformat(),
            },
            "Granularity": "DAILY",
            "Metrics": ["UnblendedCost"],
        }
        with pytest.raises(ClientError, match="not authorized to perform: ce:GetCostAndUsage") as refused:
            account.client("ce", role).get_cost_and_usage(**question)
        assert refused.value.response["Error"]["Code"] == "AccessDeniedException"
        allowed = {"Effect": "Allow", "Action": "ce:GetCostAndUsage", "Resource": "*"}
        iam.put_role_policy(
            RoleName="reader",
            PolicyName="ce",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}),
        )
        (day,) = account.client("ce", role).get_cost_and_usage(**question)["ResultsByTime"]
        assert day["Total"]["UnblendedCost"] == {"Amount": "0", "Unit": "USD"}
        far = boto3.session.Session("k", "s").client("ce", region_name="eu-west-1", endpoint_url=account.url)
        assert far.get_cost_and_usage(**question)["ResultsByTime"][0]["Estimated"] is True
