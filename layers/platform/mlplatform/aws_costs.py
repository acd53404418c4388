"""Reads what a cost report is made of: few Cost Explorer requests, each counted and kept, and free calls besides.

AWS bills every page of Cost Explorer's answers (0.01 USD; requests that fail are free), so that the answers of a UTC
day are kept in the artifact bucket: a report that is made again does not ask again, and no day has more than
MOST_REQUESTS. What can't be read becomes a sentence in the facts, never an error: the report goes out without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, TypeVar

from mlplatform import ledger, names
from mlplatform.cost_report import month_last, month_start
from mlplatform.endpoint_alarms import dimensions
from mlplatform.errors import AwsError
from mlplatform.facts import (
    CHALLENGER,
    DATASET_TAG,
    CostFacts,
    CostLine,
    EndpointBirth,
    Forecast,
    JobRun,
    Saving,
    TaggedCost,
)
from mlplatform.settings import Settings

if TYPE_CHECKING:
    from mlplatform.aws_calls import Call

Request = dict[str, Any]
T = TypeVar("T")

MOST_REQUESTS = 9  # in one UTC day
PROJECT_TAG = "Project"
NO_RESOURCE = ["Credit", "Refund", "Tax"]
_MOST_JOBS = 200  # described one by one
_MOST_PAGES = 10  # of free lists, 100 entries each
_MOST_ENDPOINTS = 50  # whose predictions are counted
_TOTAL = "UnblendedCost"


# ---- requests, pure ----


def service_costs(today: date) -> Request:
    """GetCostAndUsage: service and kind of charge, by day, from the first of last month to yesterday.

    The end is exclusive, and at most two groupings are allowed (GetCostAndUsage, Cost Explorer API reference).
    """
    return _daily(today) | {
        "GroupBy": [{"Type": "DIMENSION", "Key": "SERVICE"}, {"Type": "DIMENSION", "Key": "RECORD_TYPE"}]
    }


def tagged_costs(today: date) -> Request:
    """GetCostAndUsage: the same days by project and dataset, of what resources cause."""
    return _daily(today) | {
        "GroupBy": [{"Type": "TAG", "Key": PROJECT_TAG}, {"Type": "TAG", "Key": DATASET_TAG}],
        "Filter": {"Not": {"Dimensions": {"Key": "RECORD_TYPE", "Values": NO_RESOURCE}}},
    }


def forecast(today: date) -> Request:
    """GetCostForecast: from today, the latest start it takes, to the month's end; by day, so that it is a sum."""
    return {
        "TimePeriod": {"Start": today.isoformat(), "End": (month_last(today) + timedelta(days=1)).isoformat()},
        "Metric": "UNBLENDED_COST",
        "Granularity": "DAILY",
    }


def _daily(today: date) -> Request:
    first = month_start(month_start(today - timedelta(days=1)) - timedelta(days=1))
    return {
        "TimePeriod": {"Start": first.isoformat(), "End": today.isoformat()},
        "Granularity": "DAILY",
        "Metrics": [_TOTAL],
    }


# ---- answers, pure ----


def cost_lines(results: Sequence[Mapping[str, Any]]) -> tuple[CostLine, ...]:
    """Of an answer to service_costs. Amounts are text, and the total of a grouped answer is empty."""
    return tuple(
        CostLine(day, keys[0], keys[1] if len(keys) > 1 else "Usage", amount, currency, estimated)
        for day, keys, amount, currency, estimated in _groups(results)
    )


def tagged_lines(results: Sequence[Mapping[str, Any]]) -> tuple[TaggedCost, ...]:
    """Of an answer to tagged_costs. A key is `Tag$value`, with nothing behind the dollar where there is no tag."""
    return tuple(
        TaggedCost(day, _value(keys, PROJECT_TAG), _value(keys, DATASET_TAG), amount, currency)
        for day, keys, amount, currency, _ in _groups(results)
        if amount
    )


def _groups(results: Sequence[Mapping[str, Any]]) -> Iterator[tuple[date, list[str], Decimal, str, bool]]:
    for result in results:
        day = date.fromisoformat(result["TimePeriod"]["Start"][:10])
        for group in result.get("Groups", []):
            metric = group["Metrics"][_TOTAL]
            amount = Decimal(metric["Amount"])
            yield day, list(group["Keys"]), amount, str(metric.get("Unit", "USD")), bool(result.get("Estimated"))


def _value(keys: list[str], tag: str) -> str:
    """The value may hold dollar signs of its own."""
    return next((key.removeprefix(f"{tag}$") for key in keys if key.startswith(f"{tag}$")), "")


# ---- reading ----


@dataclass
class _Kept:
    """The answers of one UTC day by name, and how many requests they took."""

    requests: int = 0
    answers: dict[str, Any] = field(default_factory=dict)


def read_facts(call: Call, settings: Settings, now: datetime, *, fresh: bool = False) -> CostFacts:
    """Everything that a report of the morning `now` is made of; `fresh` asks Cost Explorer again.

    `call` makes one AWS call by service and operation, spelled as in Python, and raises AwsError; none leaves here,
    because what can't be read is a sentence in `missing`.
    """
    return _Reader(call, settings, now.astimezone(UTC).date(), fresh).facts()


class _Reader:
    """One morning's reading; `_missing` collects what could not be read."""

    def __init__(self, call: Call, settings: Settings, today: date, fresh: bool) -> None:
        self._call = call
        self._settings = settings
        self._today = today
        self._day = today - timedelta(days=1)
        self._fresh = fresh
        self._missing: list[str] = []
        self._kept = _Kept()

    def facts(self) -> CostFacts:
        self._kept = self._try("The kept answers of Cost Explorer", self._load, _Kept())
        asked = self._kept.requests
        results = self._answer("What was spent by service", "services", service_costs(self._today))
        lines = None if results is None else cost_lines(results)
        tagged = None
        if lines:  # without costs by service, those by tag say nothing, and cost as much
            results = self._answer("What was spent by tag", "tags", tagged_costs(self._today))
            tagged = None if results is None else tagged_lines(results)
        expected, why = self._forecast(bool(lines))
        if self._kept.requests != asked:
            self._try("Keeping Cost Explorer's answers", self._keep, None)
        no_jobs: tuple[JobRun, ...] = ()
        no_endpoints: tuple[EndpointBirth, ...] = ()
        jobs = self._try("Training jobs", self._jobs, no_jobs)
        endpoints = self._try("Endpoints", self._endpoints, no_endpoints)
        no_savings: tuple[Saving, ...] = ()
        savings = self._try("The savings ledger", self._savings, no_savings)
        stack = self._settings.stack_name
        # Endpoints sleep when the report is made: of those, a job or what the night saved tells.
        told = (*(names.dataset_of(stack, job.name) for job in jobs), *(saving.dataset for saving in savings))
        datasets = sorted({one.dataset for one in endpoints} | set(filter(None, told)))
        return CostFacts(
            today=self._today,
            lines=lines,
            tagged=tagged,
            forecast=expected,
            forecast_note=why,
            jobs=jobs,
            endpoints=endpoints,
            predictions=self._try("Predictions", lambda: self._predictions(datasets), {}),
            savings=savings,
            missing=tuple(self._missing),
            requests=self._kept.requests,
        )

    def _try(self, what: str, read: Callable[[], T], otherwise: T) -> T:
        try:
            return read()
        except AwsError as error:
            self._missing.append(f"{what}: not read, because {error}.")
            return otherwise

    # Cost Explorer

    def _answer(self, what: str, name: str, request: Request) -> list[dict[str, Any]] | None:
        """All pages of one GetCostAndUsage, from the day's kept answers where they are; None where it can't be had."""
        if name in self._kept.answers and not self._fresh:
            return self._kept.answers[name]  # type: ignore[no-any-return]
        results: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        seen: set[str] = set()
        while True:
            if self._kept.requests >= MOST_REQUESTS:
                kept = self._kept.answers.get(name)
                rest = "earlier answers of the day stand in" if kept else "the figures are incomplete"
                self._missing.append(
                    f"{what}: {MOST_REQUESTS} requests to Cost Explorer were made today, which is the most, so {rest}."
                )
                return kept if kept is not None else results or None
            try:
                page = self._call("ce", "get_cost_and_usage", **request, **token)
            except AwsError as error:
                self._missing.append(f"{what}: {_refusal(error)}")
                return results or None
            self._kept.requests += 1
            results += page.get("ResultsByTime", [])
            following = page.get("NextPageToken")
            if following and following in seen:
                self._missing.append(
                    f"{what}: Cost Explorer sent the same page token twice, so the pages behind it are missing."
                )
                return results
            if not following:
                self._kept.answers[name] = results
                return results
            seen.add(following)
            token = {"NextPageToken": following}

    def _forecast(self, costs: bool) -> tuple[Forecast | None, str]:
        """The forecast, or a sentence that says why there is none."""
        if self._day == month_last(self._day):
            return None, ""  # nothing of the reported month is left
        if not costs:
            return None, "There is no forecast: without costs so far there is nothing to forecast from."
        answer = None if self._fresh else self._kept.answers.get("forecast")
        if answer is None:
            if self._kept.requests >= MOST_REQUESTS:
                return None, f"There is no forecast: {MOST_REQUESTS} requests to Cost Explorer were made today already."
            try:
                answer = self._call("ce", "get_cost_forecast", **forecast(self._today))["Total"]
            except AwsError as error:
                return None, f"There is no forecast: {_refusal(error)}"
            self._kept.requests += 1
            self._kept.answers["forecast"] = answer
        return Forecast(self._today, Decimal(answer["Amount"]), str(answer.get("Unit", "USD"))), ""

    # what costs nothing to read

    def _load(self) -> _Kept:
        try:
            stored = self._call("s3", "get_object", Bucket=self._settings.artifact_bucket, Key=self._key)
        except AwsError as error:
            if error.code in {"NoSuchKey", "404"}:
                return _Kept()
            raise
        document = json.loads(stored["Body"].read())
        return _Kept(document["requests"], document["answers"])

    def _keep(self) -> None:
        self._call(
            "s3",
            "put_object",
            Bucket=self._settings.artifact_bucket,
            Key=self._key,
            Body=json.dumps({"requests": self._kept.requests, "answers": self._kept.answers}).encode(),
            ContentType="application/json",
        )

    @property
    def _key(self) -> str:
        return names.cost_answers_key(self._today)

    def _jobs(self) -> tuple[JobRun, ...]:
        """The stack's training jobs that ended in the reported month, up to yesterday."""
        first = month_start(self._day)
        listed = self._pages(
            "sagemaker",
            "list_training_jobs",
            "TrainingJobSummaries",
            NameContains=f"{self._settings.stack_name}-",
            LastModifiedTimeAfter=_midnight(first),
            LastModifiedTimeBefore=_midnight(self._today + timedelta(days=1)),
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=100,
        )
        ended = [
            job
            for job in listed
            if "TrainingEndTime" in job and first <= job["TrainingEndTime"].astimezone(UTC).date() <= self._day
        ]
        if len(ended) > _MOST_JOBS:
            self._missing.append(
                f"Training jobs: {len(ended)} ended this month; what the newest {_MOST_JOBS} were billed is shown."
            )
        found = []
        for job in ended[:_MOST_JOBS]:
            details = self._call("sagemaker", "describe_training_job", TrainingJobName=job["TrainingJobName"])
            resources = details.get("ResourceConfig", {})
            trained = int(details.get("TrainingTimeInSeconds", 0))
            found.append(
                JobRun(
                    name=job["TrainingJobName"],
                    instance_type=resources.get("InstanceType", ""),
                    instance_count=resources.get("InstanceCount", 1),
                    training_seconds=trained,
                    billable_seconds=int(details.get("BillableTimeInSeconds", trained)),
                    spot=bool(details.get("EnableManagedSpotTraining")),
                    ended=job["TrainingEndTime"].astimezone(UTC),
                )
            )
        return tuple(found)

    def _endpoints(self) -> tuple[EndpointBirth, ...]:
        listed = self._pages(
            "sagemaker",
            "list_endpoints",
            "Endpoints",
            NameContains=f"{self._settings.stack_name}-",
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=100,
        )
        return tuple(
            EndpointBirth(one["EndpointName"], self._dataset(one["EndpointName"]), one["CreationTime"].astimezone(UTC))
            for one in listed
        )

    def _dataset(self, name: str) -> str:
        return name.removeprefix(f"{self._settings.stack_name}-")

    def _predictions(self, datasets: Sequence[str]) -> dict[str, int]:
        """Invocations in the reported month, up to yesterday.

        GetMetricStatistics is in the free tier, GetMetricData is not (Amazon CloudWatch pricing).
        """
        counted: dict[str, int] = {}
        for dataset, variant in product(datasets[:_MOST_ENDPOINTS], (names.VARIANT, CHALLENGER)):
            answer = self._call(
                "cloudwatch",
                "get_metric_statistics",
                Namespace="AWS/SageMaker",
                MetricName="Invocations",
                Dimensions=dimensions(names.endpoint(self._settings.stack_name, dataset), variant),
                StartTime=_midnight(month_start(self._day)),
                EndTime=_midnight(self._today),
                Period=86400,
                Statistics=["Sum"],
            )
            points = answer.get("Datapoints", [])
            counted[dataset] = counted.get(dataset, 0) + round(sum(point["Sum"] for point in points))
        if len(datasets) > _MOST_ENDPOINTS:
            self._missing.append(
                f"Predictions: there are {len(datasets)} datasets; those of the first {_MOST_ENDPOINTS} are counted."
            )
        return counted

    def _savings(self) -> tuple[Saving, ...]:
        prefix = ledger.month_prefix(_midnight(self._day))
        bucket = self._settings.artifact_bucket
        found = []
        token: dict[str, str] = {}
        while True:
            page = self._call("s3", "list_objects_v2", Bucket=bucket, Prefix=prefix, **token)
            for entry in page.get("Contents", []):
                content = self._call("s3", "get_object", Bucket=bucket, Key=entry["Key"])["Body"].read()
                try:
                    saving = ledger.parse(content)
                except ValueError as error:
                    self._missing.append(f"The savings ledger: {entry['Key']} is not counted. {error}")
                    continue
                if saving.at.astimezone(UTC).date() <= self._day:
                    found.append(saving)
            if not page.get("IsTruncated"):
                return tuple(found)
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _pages(self, service: str, operation: str, member: str, **parameters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        for _ in range(_MOST_PAGES):
            page = self._call(service, operation, **parameters, **token)
            found += page.get(member, [])
            if not page.get("NextToken"):
                return found
            token = {"NextToken": page["NextToken"]}
        self._missing.append(f"{member}: only the newest {len(found)} were looked at.")
        return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _refusal(error: AwsError) -> str:
    """A sentence: why Cost Explorer did not answer, and what cures it. Codes: Cost Explorer API reference, errors."""
    match error.code:
        case "DataUnavailableException":
            return "Cost Explorer has too little history yet; it needs days to weeks of it."
        case "AccessDeniedException" | "AccessDenied" if "not enabled" in error.aws_message.lower():
            return (
                "Cost Explorer is switched off in this account; it is switched on once, in the billing console, and "
                "has figures a day later."
            )
        case "AccessDeniedException" | "AccessDenied":
            return f"this account may not ask Cost Explorer ({error.aws_message.rstrip('.')})."
        case "LimitExceededException" | "ThrottlingException" | "Throttling" | "TooManyRequestsException":
            return "Cost Explorer had too many requests to answer; the next report asks again."
        case _:
            return f"Cost Explorer did not answer ({error.code}: {error.aws_message.rstrip('.')})."
