"""The morning's report: few requests, each counted, and a report whatever Cost Explorer answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import builders
from builders import Account
from laptop.service_model import validate
from mlplatform import aws_costs, ledger
from mlplatform.decisions import Decision, ReportCosts, Skip
from mlplatform.errors import AwsError
from report_costs import handler, report_costs

MORNING = datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
JOB = "ml-platform-churn-0123456789ab-a1b2c"
Answer = Callable[[Mapping[str, Any]], dict[str, Any]]


def group(amount: str, *keys: str, unit: str = "USD") -> dict[str, Any]:
    return {"Keys": list(keys), "Metrics": {"UnblendedCost": {"Amount": amount, "Unit": unit}}}


def day(when: str, *groups: dict[str, Any]) -> dict[str, Any]:
    """As Cost Explorer answers: a grouped answer's Total is empty, and amounts are text."""
    end = (date.fromisoformat(when) + timedelta(days=1)).isoformat()
    return {"TimePeriod": {"Start": when, "End": end}, "Total": {}, "Groups": list(groups), "Estimated": True}


SERVICES = [
    day("2026-10-23", group("1.5", "Amazon SageMaker", "Usage")),
    day("2026-11-22", group("0", "Amazon SageMaker", "Usage", unit="N/A")),
    day(
        "2026-11-23",
        group("2.3000000001", "Amazon SageMaker", "Usage"),
        group("0.205", "AWS Lambda", "Usage"),
        group("0.5", "Tax", "Tax"),
        group("-0.25", "Amazon SageMaker", "Credit"),
    ),
]
TAGS = [
    day("2026-10-23", group("1.5", "Project$ml-platform", "ml-platform:dataset$churn")),
    day(
        "2026-11-23",
        group("2.3000000001", "Project$ml-platform", "ml-platform:dataset$churn"),
        group("0.2", "Project$ml-platform", "ml-platform:dataset$"),
        group("0.005", "Project$a$b", "ml-platform:dataset$"),
    ),
]


def answers(request: Mapping[str, Any]) -> dict[str, Any]:
    by_tag = request["GroupBy"][0]["Type"] == "TAG"
    return {"ResultsByTime": TAGS if by_tag else SERVICES}


def refusing(code: str, message: str = "no") -> Answer:
    def refuse(_: Mapping[str, Any]) -> dict[str, Any]:
        raise AwsError("ce", "GetCostAndUsage", code, message)

    return refuse


@pytest.fixture
def costs(account: Account) -> Account:
    """An account with a bill, and nothing of SageMaker's."""
    account.answers["get_cost_and_usage"] = answers
    account.answers["get_cost_forecast"] = {"Total": {"Amount": "7.125", "Unit": "USD"}, "ForecastResultsByTime": []}
    return account


def numbers(account: Account, day: str = "2026-11-24") -> Any:
    return account.document(f"reports/{day}.json", account.settings.artifact_bucket)


def asked(account: Account) -> int:
    return len(account.called("get_cost_and_usage")) + len(account.called("get_cost_forecast"))


def made(account: Account, when: datetime = MORNING, **changed: Any) -> Decision:
    return report_costs(account.app(), when, **changed)


def test_the_requests_are_ones_that_cost_explorer_accepts() -> None:
    for today in (date(2026, 11, 24), date(2026, 12, 1), date(2027, 1, 1), date(2028, 3, 1)):
        assert validate("ce", "GetCostAndUsage", aws_costs.service_costs(today)) == []
        assert validate("ce", "GetCostAndUsage", aws_costs.tagged_costs(today)) == []
        assert validate("ce", "GetCostForecast", aws_costs.forecast(today)) == []


@pytest.mark.parametrize(
    ("today", "start", "end"),
    [
        (date(2026, 11, 24), "2026-10-01", "2026-11-24"),
        (date(2026, 12, 1), "2026-10-01", "2026-12-01"),  # about November, beside October
        (date(2027, 1, 2), "2026-12-01", "2027-01-02"),
    ],
)
def test_costs_are_asked_for_from_the_first_of_last_month_to_yesterday(today: date, start: str, end: str) -> None:
    assert aws_costs.service_costs(today)["TimePeriod"] == {"Start": start, "End": end}


def test_the_report_goes_out_with_a_page_and_its_numbers_beside_it(costs: Account) -> None:
    decision = made(costs)
    assert isinstance(decision, ReportCosts)
    document = numbers(costs)
    # 2.3000000001 + 0.205 + 0.5 - 0.25
    assert document["services"]["total"]["yesterday"] == "2.76"
    assert document["services"]["total"]["month_to_date"] == "2.76"
    assert document["services"]["total"]["last_month"] == "1.50"
    assert document["month_end"] == "9.89"  # 2.76 and 7.125, each rounded half up
    assert [row["name"] for row in document["projects"]["rows"]] == ["ml-platform", "a$b"]
    assert [row["name"] for row in document["datasets"]["rows"]] == ["churn", "the platform itself"]
    assert (document["requests"], document["requests_usd"], document["missing"]) == (3, "0.03", [])
    page = costs.client("s3").get_object(Bucket=costs.settings.artifact_bucket, Key="reports/2026-11-24.html")
    assert page["ContentType"] == "text/html; charset=utf-8"
    assert "$2.76" in page["Body"].read().decode()
    (alert,) = costs.alerts()
    assert alert["Subject"] == "ml-platform: $2.76 yesterday, $2.76 this month"
    assert "reports%2F2026-11-24.html" in alert["Message"]


def test_jobs_predictions_and_savings_are_read_where_they_are(costs: Account) -> None:
    ended = datetime(2026, 11, 23, 9, tzinfo=UTC)
    too_new = datetime(2026, 11, 24, 1, tzinfo=UTC)
    costs.answers["list_training_jobs"] = {
        "TrainingJobSummaries": [
            {"TrainingJobName": "ml-platform-iris-0123456789ab-a1b2c", "TrainingEndTime": too_new},
            {"TrainingJobName": JOB, "TrainingEndTime": ended},
        ]
    }
    costs.answers["describe_training_job"] = {
        "TrainingJobName": JOB,
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2},
        "EnableManagedSpotTraining": True,
        "TrainingTimeInSeconds": 3600,
        "BillableTimeInSeconds": 1800,
    }
    # Of an A/B test, the challenger's predictions count as well.
    asked = {"AllTraffic": [{"Sum": 500.0}, {"Sum": 400.0}], "Challenger": [{"Sum": 100.0}]}
    costs.answers["get_metric_statistics"] = lambda request: {"Datapoints": asked[request["Dimensions"][1]["Value"]]}
    for at, usd in ((ended, "0.50"), (too_new, "9")):
        saving = ledger.entry("spot", f"{JOB}{at}", Decimal(usd), "half of it", at, "churn")
        costs.put(
            ledger.object_key(saving), json.dumps(ledger.document(saving)).encode(), costs.settings.artifact_bucket
        )
    costs.put("ledger/2026-11/spot-broken.json", b"{}", costs.settings.artifact_bucket)
    made(costs)
    document = numbers(costs)
    # 1800 s of two ml.m5.xlarge at 0.23 USD an hour; 2.30 USD for 1,000 predictions
    assert [(unit["name"], Decimal(unit["usd"])) for unit in document["unit_costs"]] == [
        ("per training job", Decimal("0.23")),
        ("per dataset", Decimal("2.30")),
        ("per 1,000 predictions of churn", Decimal("2.30")),
    ]
    assert document["saved_usd"] == "0.50"
    assert "spot-broken.json is not counted" in document["missing"][0]
    assert "billed $0.23" in document["movers"][0]["cause"]


def test_a_report_that_is_made_again_is_not_told_again(costs: Account) -> None:
    made(costs)
    costs.alerts()
    assert made(costs) == Skip("The report of 2026-11-24 was made and told already.")
    assert costs.alerts() == []
    assert asked(costs) == 3


def test_what_failed_after_asking_does_not_ask_again(costs: Account) -> None:
    app = costs.app()
    costs.answers["publish"] = refusing("InternalError")
    with pytest.raises(AwsError):
        report_costs(app, MORNING)
    del costs.answers["publish"]
    assert isinstance(made(costs), ReportCosts)
    assert asked(costs) == 3
    assert numbers(costs)["requests"] == 3


def test_no_day_has_ten_requests_however_often_somebody_asks_afresh(costs: Account) -> None:
    for _ in range(5):
        made(costs, fresh=True)
    assert asked(costs) == 9
    document = numbers(costs)
    assert document["services"]["total"]["yesterday"] == "2.76"  # the day's earlier answer
    assert "9 requests to Cost Explorer were made today" in document["missing"][0]


def test_asking_afresh_shows_what_the_bill_is_now(costs: Account) -> None:
    made(costs)
    costs.answers["get_cost_and_usage"] = {
        "ResultsByTime": [day("2026-11-23", group("8", "Amazon SageMaker", "Usage"))]
    }
    made(costs, fresh=True)
    assert numbers(costs)["services"]["total"]["yesterday"] == "8.00"


def test_every_page_is_read_and_counted(costs: Account) -> None:
    def paged(request: Mapping[str, Any]) -> dict[str, Any]:
        if request["GroupBy"][0]["Type"] == "TAG":
            return {"ResultsByTime": TAGS}
        place = int(request.get("NextPageToken", "0"))
        following = {"NextPageToken": str(place + 1)} if place < 2 else {}
        return {"ResultsByTime": [SERVICES[place]], **following}

    costs.answers["get_cost_and_usage"] = paged
    made(costs)
    assert numbers(costs)["services"]["total"]["yesterday"] == "2.76"
    assert numbers(costs)["requests"] == 5


def test_a_page_token_that_repeats_ends_the_reading_and_is_told(costs: Account) -> None:
    costs.answers["get_cost_and_usage"] = lambda request: answers(request) | {"NextPageToken": "again"}
    made(costs)
    assert asked(costs) == 5  # twice two pages, and the forecast
    assert any("the same page token twice" in sentence for sentence in numbers(costs)["missing"])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            refusing("AccessDeniedException", "User not enabled for cost explorer access"),
            "switched off in this account",
        ),
        (
            refusing("AccessDeniedException", "not authorized to perform: ce:GetCostAndUsage"),
            "may not ask Cost Explorer",
        ),
        (refusing("DataUnavailableException"), "too little history"),
        (refusing("LimitExceededException"), "too many requests"),
        (refusing("InternalServerError", "Sorry."), "did not answer (InternalServerError: Sorry)."),
        (lambda _: {"ResultsByTime": []}, "answered without any cost"),
        (lambda _: {"ResultsByTime": [day("2026-11-23")]}, "answered without any cost"),
    ],
)
def test_without_costs_the_report_goes_out_and_says_why(costs: Account, answer: Answer, said: str) -> None:
    costs.answers["get_cost_and_usage"] = answer
    made(costs)
    document = numbers(costs)
    assert document["services"] is None
    assert any(said in sentence for sentence in document["missing"])
    assert len(costs.called("get_cost_and_usage")) == 1  # asking for more would cost more and say nothing
    assert len(costs.alerts()) == 1


def test_without_a_forecast_a_sentence_says_why(costs: Account) -> None:
    costs.answers["get_cost_forecast"] = refusing("DataUnavailableException")
    made(costs)
    assert numbers(costs)["forecast"] == (
        "There is no forecast: Cost Explorer has too little history yet; it needs days to weeks of it."
    )
    assert numbers(costs)["requests"] == 2  # what failed is free


def test_on_the_first_of_a_month_no_forecast_is_paid_for(costs: Account) -> None:
    made(costs, datetime(2026, 12, 1, 7, 30, tzinfo=UTC))
    assert costs.called("get_cost_forecast") == []
    assert numbers(costs, "2026-12-01")["forecast"] == "There is no forecast: November is over."


@pytest.mark.parametrize("operation", ["list_training_jobs", "list_endpoints", "list_objects_v2"])
def test_what_cannot_be_read_is_said_and_the_rest_goes_out(costs: Account, operation: str) -> None:
    refuse = refusing("AccessDenied", "not allowed")
    # Of the objects, the ledger's alone: the report's own are what it is about.
    costs.answers[operation] = lambda asked: (
        refuse(asked) if asked.get("Prefix", "ledger/").startswith("ledger/") else None
    )
    made(costs)
    document = numbers(costs)
    assert document["services"]["total"]["yesterday"] == "2.76"
    assert any("not read, because" in sentence for sentence in document["missing"])


def test_the_link_leads_to_the_object_and_gives_no_access(costs: Account) -> None:
    assert costs.app().aws.artifact_link("reports/2026-11-24.html") == (
        "https://console.aws.amazon.com/s3/object/ml-platform-artifacts?region=us-east-1&prefix=reports%2F2026-11-24.html"
    )
    costs.settings = builders.settings(aws_region="cn-north-1")
    assert costs.app().aws.artifact_link("a.html").startswith("https://console.amazonaws.cn/s3/object/")


def test_the_link_leads_to_where_the_objects_are_when_that_is_not_aws(
    costs: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    link = costs.app().aws.artifact_link("reports/2026-11-24.html")
    assert (
        link
        == "http://127.0.0.1:4566/s3/object/ml-platform-artifacts?region=us-east-1&prefix=reports%2F2026-11-24.html"
    )


def test_the_handler_takes_the_schedules_time(costs: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report_costs.live_app", costs.app)
    answer = handler({"scheduled_time": "2026-11-24T07:30:00Z"}, builders.LambdaContext())
    assert answer["decision"] == "ReportCosts"
    assert "$2.76 yesterday" in answer["reason"]
