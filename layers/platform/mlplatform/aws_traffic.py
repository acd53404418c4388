"""What an endpoint's requests are and were like, from CloudWatch: a part of Aws (aws.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from mlplatform.aws_calls import Call, Calls, pages
from mlplatform.endpoint_alarms import request_dimensions
from mlplatform.facts import Endpoint, HostingKind, Traffic
from mlplatform.sleeping import dimensions as sleeper_dimensions

WINDOW_DAYS = 14
_HOUR = 3600
_BACKLOG_TOLD = timedelta(minutes=10)  # a queue's length that was told longer ago is no longer true


class TrafficCalls(Calls):
    """Mixed into Aws."""

    def traffic(self, endpoint: Endpoint) -> Traffic:
        return read_traffic(self._call, endpoint.name, endpoint.kind, self.now())

    def calls(self, endpoint: Endpoint, since: datetime) -> int:
        """How many requests it got, or has waiting. An asynchronous endpoint counts what it has processed, and what
        sleeps the calls that failed because it does, which are not among its invocations.
        """
        scope = request_dimensions(endpoint.name, endpoint.kind)
        wanted = [("Invocations", scope, "Sum")]
        if endpoint.kind is HostingKind.ASYNCHRONOUS:
            wanted = [
                ("InvocationsProcessed", scope, "Sum"),
                ("ApproximateBacklogSize", sleeper_dimensions(endpoint), "Maximum"),
            ]
        if endpoint.kind is HostingKind.SCALE_TO_ZERO:
            wanted.append(("NoCapacityInvocationFailures", scope, "Sum"))
        return int(sum(sum(values) for values in self._minutes(wanted, since)))

    def waiting(self, endpoint: Endpoint) -> int:
        """The requests in an asynchronous endpoint's queue and in work, as of its last minute; 0 where it has told
        none for a while (ApproximateBacklogSize, "Monitor asynchronous endpoint", SageMaker developer guide)."""
        wanted = [("ApproximateBacklogSize", sleeper_dimensions(endpoint), "Maximum")]
        [values] = self._minutes(wanted, self.now() - _BACKLOG_TOLD)
        return int(values[0]) if values else 0

    def _minutes(
        self, wanted: Sequence[tuple[str, list[dict[str, str]], str]], since: datetime
    ) -> list[Sequence[float]]:
        """Of each metric, dimensions and statistic the values minute by minute, the newest first."""
        found = self._call(
            "cloudwatch",
            "get_metric_data",
            MetricDataQueries=[
                {
                    "Id": f"m{number}",
                    "MetricStat": {
                        "Metric": {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": scope},
                        "Period": 60,
                        "Stat": statistic,
                    },
                }
                for number, (name, scope, statistic) in enumerate(wanted)
            ],
            StartTime=since,
            EndTime=self.now(),
            ScanBy="TimestampDescending",
        )
        by_id = {one["Id"]: one["Values"] for one in found["MetricDataResults"]}
        return [by_id.get(f"m{number}", []) for number in range(len(wanted))]


def read_traffic(call: Call, endpoint: str, kind: HostingKind, now: datetime) -> Traffic:
    """The last two weeks by the hour ("Metrics for monitoring Amazon SageMaker AI", SageMaker developer guide).

    What a kind does not publish, or means otherwise by the same name, is not asked for:

    - Serverless: OverheadLatency contains cold starts (docs.aws.amazon.com/sagemaker/latest/dg/
      serverless-endpoints-monitoring.html), which no other kind would have. Their own length is ModelSetupTime.
    - Asynchronous: neither Invocations nor OverheadLatency (docs.aws.amazon.com/sagemaker/latest/dg/
      async-inference-monitor.html), but InvocationsProcessed.
    - Scale to zero: the metrics are the inference component's. That its memory is told as a share of what a copy
      reserves is taken from "SageMaker inference component metrics" and was not seen on AWS.
    """
    scope = request_dimensions(endpoint, kind)
    requests = "InvocationsProcessed" if kind is HostingKind.ASYNCHRONOUS else "Invocations"
    memory = ("/aws/sagemaker/Endpoints", "MemoryUtilization", "Maximum")
    if kind is HostingKind.SCALE_TO_ZERO:
        memory = ("/aws/sagemaker/InferenceComponents", "MemoryUtilizationNormalized", "Maximum")
    wanted = {
        "requests": ("AWS/SageMaker", requests, "Sum"),
        "model": ("AWS/SageMaker", "ModelLatency", "Sum"),
        "models": ("AWS/SageMaker", "ModelLatency", "SampleCount"),
        "memory": memory,
    }
    if kind in {HostingKind.REAL_TIME, HostingKind.SCALE_TO_ZERO}:
        wanted["overhead"] = ("AWS/SageMaker", "OverheadLatency", "Sum")
        wanted["overheads"] = ("AWS/SageMaker", "OverheadLatency", "SampleCount")
    if kind is HostingKind.SERVERLESS:
        wanted["setup"] = ("AWS/SageMaker", "ModelSetupTime", "Sum")
        wanted["setups"] = ("AWS/SageMaker", "ModelSetupTime", "SampleCount")
    found: dict[str, list[Decimal]] = {key: [] for key in wanted}
    results = pages(
        call,
        "MetricDataResults",
        "cloudwatch",
        "get_metric_data",
        MetricDataQueries=[
            {
                "Id": key,
                "MetricStat": {
                    "Metric": {"Namespace": namespace, "MetricName": metric, "Dimensions": scope},
                    "Period": _HOUR,
                    "Stat": statistic,
                },
            }
            for key, (namespace, metric, statistic) in wanted.items()
        ],
        StartTime=now.replace(minute=0, second=0, microsecond=0) - timedelta(days=WINDOW_DAYS),
        EndTime=now + timedelta(hours=1),
    )
    for result in results:
        found[result["Id"]].extend(Decimal(str(value)) for value in result["Values"])
    return Traffic(
        tuple(found["requests"]),
        _average(found["model"], found["models"]),
        _average(found.get("overhead", []), found.get("overheads", [])),
        max(found["memory"], default=None),
        _average(found.get("setup", []), found.get("setups", [])),
    )


def _average(microseconds: list[Decimal], counts: list[Decimal]) -> Decimal | None:
    count = sum(counts, Decimal(0))
    return sum(microseconds, Decimal(0)) / count / 10**6 if count else None
