"""The meter's tick, from what SageMaker says to the object, the metrics and the hold. On moto."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

import builders
from builders import NOON, Account
from mlplatform.decisions import Decision, HoldLaunches, LiftHold, Notify, RecordSpend, Skip
from mlplatform.errors import AwsError
from mlplatform.facts import DATASET_TAG, STACK_TAG
from watch_spend import watch_spend, watch_ticks

HOUR = timedelta(hours=1)
ARTIFACTS = "ml-platform-artifacts"
ARN = f"arn:aws:sagemaker:{builders.REGION}:123456789012"
TAGS = [
    {"Key": STACK_TAG, "Value": "ml-platform"},
    {"Key": DATASET_TAG, "Value": "churn"},
    {"Key": "Environment", "Value": "dev"},
]


def endpoint(name: str = "ml-platform-churn", *, count: int = 1, status: str = "InService") -> dict[str, Any]:
    """As Search returns it."""
    return {
        "EndpointName": name,
        "EndpointArn": f"{ARN}:endpoint/{name}",
        "EndpointConfigName": f"{name}-config",
        "EndpointStatus": status,
        "CreationTime": NOON,
        "ProductionVariants": [{"VariantName": "AllTraffic", "CurrentInstanceCount": count}],
        "Tags": TAGS,
    }


def job(name: str = "ml-platform-churn-1", *, billable: int | None = None, hours: float = 1) -> dict[str, Any]:
    """One that has ended, if it was billed."""
    ended = {} if billable is None else {"TrainingEndTime": NOON + hours * HOUR, "BillableTimeInSeconds": billable}
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"{ARN}:training-job/{name}",
        "TrainingJobStatus": "InProgress" if billable is None else "Completed",
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1},
        "EnableManagedSpotTraining": True,
        "TrainingStartTime": NOON,
        "LastModifiedTime": NOON + hours * HOUR,
        "Tags": TAGS,
        **ended,
    }


def running(account: Account, *things: Mapping[str, Any]) -> None:
    """What SageMaker's Search finds, two to a page so that there are pages; and configs of ml.c5.large."""

    def search(parameters: Mapping[str, Any]) -> dict[str, Any]:
        chosen = [one for one in things if f"{parameters['Resource']}Name" in one and _passes(one, parameters)]
        start = int(parameters.get("NextToken", 0))
        more = {"NextToken": str(start + 2)} if start + 2 < len(chosen) else {}
        return {"Results": [{parameters["Resource"]: one} for one in chosen[start : start + 2]], **more}

    account.answers["search"] = search
    account.answers["describe_endpoint_config"] = {
        "ProductionVariants": [{"VariantName": "AllTraffic", "InstanceType": "ml.c5.large"}]
    }


def _passes(found: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    for wanted in parameters["SearchExpression"]["Filters"]:
        name, value = wanted["Name"], wanted["Value"]
        if name == "LastModifiedTime" and found[name] < datetime.fromisoformat(value).replace(tzinfo=UTC):
            return False
        if name == "TrainingJobStatus" and found[name] != value:
            return False
    return True


def tick(account: Account, after: timedelta = HOUR) -> list[Decision]:
    return watch_spend(account.app(), NOON + after)


def spent(account: Account) -> Decimal:
    return Decimal(account.document("spend/2026-11.json", ARTIFACTS)["usd"])


def ceilings(account: Account, daily: str, monthly: str = "500") -> None:
    account.settings = replace(account.settings, daily_ceiling_usd=Decimal(daily), monthly_ceiling_usd=Decimal(monthly))


def test_a_tick_keeps_and_publishes_what_has_been_spent(account: Account) -> None:
    running(account, endpoint(count=2), job(billable=1800))
    [decision] = tick(account)
    assert isinstance(decision, RecordSpend)
    assert spent(account) == Decimal("0.319")  # two hours of 0.102, half an hour of 0.23
    [metrics] = account.called("put_metric_data")
    assert metrics["Namespace"] == "ml-platform"
    assert [(len(datum["Dimensions"]), datum["Value"]) for datum in metrics["MetricData"]] == [(1, 0.319), (2, 0.319)]
    assert account.alerts() == []


def test_the_calls_of_a_tick_are_pages_and_configs_that_are_new(account: Account) -> None:
    running(account, *(endpoint(f"ml-platform-{number}") for number in range(5)))
    tick(account)
    # Pages of endpoints, jobs that changed, jobs that run, tunings that run
    assert len(account.called("search")) == 3 + 1 + 1 + 1
    assert len(account.called("describe_endpoint_config")) == 5
    account.calls.clear()
    tick(account, 2 * HOUR)
    assert account.called("describe_endpoint_config") == []
    assert len(account.calls) < 13


def test_what_scaling_in_saved_is_in_the_ledger_once(account: Account) -> None:
    running(account, endpoint(count=3))
    tick(account)
    running(account, endpoint(count=1))
    for hours in (12, 13, 13, 14):
        tick(account, hours * HOUR)
    [key] = account.keys(ARTIFACTS, "ledger/2026-11/scale-in-")
    entry = account.document(key, ARTIFACTS)
    assert (entry["usd"], entry["dataset"]) == ("2.244000", "churn")  # eleven hours with two instances less


def test_repeated_ticks_change_nothing(account: Account) -> None:
    running(account, endpoint(), job(billable=1800))
    for _ in range(3):
        tick(account)
    assert spent(account) == Decimal("0.217")


def test_a_long_job_that_says_nothing_new_is_still_counted(account: Account) -> None:
    running(account, job())
    tick(account, HOUR)
    tick(account, 9 * HOUR)
    assert spent(account) == Decimal("2.07")


@pytest.mark.parametrize("status", ["Failed", "Deleting", "OutOfService"])
def test_an_endpoint_without_instances_costs_nothing(account: Account, status: str) -> None:
    running(account, endpoint(status=status))
    tick(account)
    assert spent(account) == 0


def test_notebooks_and_processing_jobs_that_carry_the_stacks_tag_are_counted(account: Account) -> None:
    running(account)
    account.answers["get_resources"] = {
        "ResourceTagMappingList": [
            {"ResourceARN": f"{ARN}:notebook-instance/lab", "Tags": TAGS},
            {"ResourceARN": f"{ARN}:processing-job/clean", "Tags": TAGS},
            {"ResourceARN": f"{ARN}:notebook-instance/gone", "Tags": TAGS},
        ]
    }

    def notebook(parameters: Mapping[str, Any]) -> dict[str, Any]:
        if parameters["NotebookInstanceName"] == "gone":
            raise AwsError("sagemaker", "DescribeNotebookInstance", "ValidationException", "RecordNotFound")
        return {
            "NotebookInstanceArn": f"{ARN}:notebook-instance/lab",
            "NotebookInstanceName": "lab",
            "NotebookInstanceStatus": "InService",
            "InstanceType": "ml.t3.medium",
            "LastModifiedTime": NOON,
        }

    account.answers["describe_notebook_instance"] = notebook
    account.answers["describe_processing_job"] = {
        "ProcessingJobArn": f"{ARN}:processing-job/clean",
        "ProcessingJobName": "clean",
        "ProcessingStartTime": NOON,
        "ProcessingEndTime": NOON + HOUR / 2,
        "ProcessingResources": {"ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 2}},
    }
    tick(account)
    assert spent(account) == Decimal("0.05") + Decimal("0.115")


def test_at_80_percent_one_warning_is_sent_however_many_ticks_follow(account: Account) -> None:
    ceilings(account, "0.25")
    running(account, endpoint())
    for hours in (2.0, 2.1, 2.2):
        tick(account, hours * HOUR)
    [alert] = account.alerts()
    assert "ceiling" in alert["Subject"]
    assert "0.25 USD" in alert["Message"]


def test_at_100_percent_launches_are_held_and_people_are_told_once(account: Account) -> None:
    ceilings(account, "0.2")
    running(account, endpoint())
    assert isinstance(tick(account, 2 * HOUR)[-1], HoldLaunches)
    tick(account, 3 * HOUR)
    hold = account.document("spend/hold.json", ARTIFACTS)
    assert hold["period"] == "2026-11-23"
    [alert] = account.alerts()
    assert alert["Subject"] == "ml-platform: a spending ceiling is reached"
    assert "mlp costs resume" in alert["Message"]


def test_the_hold_is_lifted_by_itself_the_next_day(account: Account) -> None:
    ceilings(account, "0.2")
    running(account, endpoint())
    tick(account, 2 * HOUR)
    running(account)
    decisions = tick(account, 12 * HOUR)
    assert isinstance(decisions[-1], LiftHold)
    assert account.document("spend/hold.json", ARTIFACTS) is None


def test_a_hold_that_could_not_be_announced_is_announced_by_the_next_tick(account: Account) -> None:
    ceilings(account, "0.2")
    running(account, endpoint())

    def publish(_: Mapping[str, Any]) -> None:
        raise AwsError("sns", "Publish", "InternalError", "broken")

    account.answers["publish"] = publish
    with pytest.raises(AwsError):
        tick(account, 2 * HOUR)
    del account.answers["publish"]
    assert isinstance(tick(account, 3 * HOUR)[-1], HoldLaunches)
    assert len(account.alerts()) == 1


def test_the_time_of_the_schedule_counts_not_the_machines(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    import watch_spend as function

    running(account, endpoint())
    scheduled(account)
    monkeypatch.setattr(function, "live_app", account.app)
    answer = function.handler({"scheduled_time": "2026-11-23T17:00:00Z"}, builders.LambdaContext())
    assert [one["decision"] for one in answer] == ["RecordSpend", "Notify"]  # office hours were kept at noon last
    assert account.document("spend/2026-11.json", ARTIFACTS)["through"] == "2026-11-23T17:00:00+00:00"
    assert spent(account) == Decimal("0.51")


# ------------------------------------------------------------------------------------------ whether the others ran
def scheduled(account: Account, *, gone: str = "", off: str = "", ran: datetime | None = NOON) -> None:
    """Schedules that were made long ago, and functions that ran last at the given moment."""

    def get_schedule(parameters: Mapping[str, Any]) -> dict[str, Any]:
        name = parameters["Name"]
        if gone and name.endswith(gone):
            raise AwsError("scheduler", "GetSchedule", "ResourceNotFoundException", "Schedule does not exist.")
        state = "DISABLED" if off and name.endswith(off) else "ENABLED"
        return {"Name": name, "State": state, "LastModificationDate": NOON - timedelta(days=90)}

    account.answers["get_schedule"] = get_schedule
    account.answers["get_metric_statistics"] = {"Datapoints": [{"Timestamp": ran, "Sum": 1.0}] if ran else []}


def ticks(account: Account, after: timedelta) -> list[Decision]:
    return watch_ticks(account.app(), NOON + after)


def test_where_all_ran_nobody_hears_of_it(account: Account) -> None:
    scheduled(account)
    assert [type(one) for one in ticks(account, HOUR)] == [Skip]
    assert account.alerts() == []


def test_what_does_not_run_is_told_once_a_day(account: Account) -> None:
    scheduled(account, gone="report-costs", off="govern-resources")
    first = ticks(account, HOUR)
    assert [type(one) for one in first] == [Notify, Notify]
    assert {alert["Subject"] for alert in account.alerts()} == {
        "ml-platform: report-costs does not run",
        "ml-platform: govern-resources does not run",
    }
    assert [type(one) for one in ticks(account, 2 * HOUR)] == [Skip, Skip]
    assert account.alerts() == []
    assert Notify in [type(one) for one in ticks(account, 24 * HOUR)]


def test_a_schedule_that_is_on_and_calls_nothing_is_seen_by_the_functions_own_metric(account: Account) -> None:
    scheduled(account)
    late = [one.reason for one in ticks(account, 3 * HOUR)]
    assert len(late) == 1
    assert late[0].startswith("ml-platform-keep-office-hours has not run since 2026-11-23 12:00 UTC")
    [asked] = {(one["Period"], one["MetricName"]) for one in account.called("get_metric_statistics")}
    assert asked == (300, "Invocations")


def test_a_serverless_endpoint_is_metered_by_what_its_requests_took(account: Account) -> None:
    """1,000 requests of 0.1 s and 0.064 s around each, with 2 GB: 164 x 2 x 0.00002 USD."""
    running(account, endpoint())
    account.answers["describe_endpoint_config"] = {
        "ProductionVariants": [{"VariantName": "AllTraffic", "ServerlessConfig": {"MemorySizeInMB": 2048}}]
    }
    account.answers["get_metric_data"] = {
        "MetricDataResults": [
            {"Id": "modellatency", "Timestamps": [NOON], "Values": [100_000_000.0]},
            {"Id": "overheadlatency", "Timestamps": [NOON], "Values": [64_000_000.0]},
        ]
    }
    for hour in (1, 2):
        watch_spend(account.app(), NOON + hour * HOUR)
    month = account.document("spend/2026-11.json", ARTIFACTS)
    assert (month["usd"], month["unpriced"]) == ("0.006560", [])


def test_an_endpoint_on_other_types_than_the_wanted_one_costs_what_those_do(account: Account) -> None:
    """An hour of one ml.c5.large and of one ml.m5.large, of three pools: 0.102 + 0.115."""
    one = endpoint(count=2)
    one["ProductionVariants"][0]["InstancePools"] = [
        {"InstanceType": kind, "CurrentInstanceCount": count}
        for kind, count in (("ml.c5.large", 1), ("ml.c5d.large", 0), ("ml.m5.large", 1))
    ]
    running(account, one)
    watch_spend(account.app(), NOON + HOUR)
    assert account.document("spend/2026-11.json", ARTIFACTS)["usd"] == "0.217000"
