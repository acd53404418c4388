"""What an endpoint's requests were like, from CloudWatch: for whoever compares kinds of hosting."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from mlplatform.endpoint_alarms import request_dimensions
from mlplatform.facts import HostingKind, Traffic

if TYPE_CHECKING:
    from mlplatform.aws_calls import Call

WINDOW_DAYS = 14
_HOUR = 3600


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
    token: dict[str, str] = {}
    while True:
        page = call(
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
            **token,
        )
        for result in page["MetricDataResults"]:
            found[result["Id"]].extend(Decimal(str(value)) for value in result["Values"])
        if not page.get("NextToken"):
            break
        token = {"NextToken": page["NextToken"]}
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
