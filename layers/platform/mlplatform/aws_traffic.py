"""What an endpoint's requests were like, from CloudWatch: for whoever compares kinds of hosting."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from mlplatform import names
from mlplatform.facts import Traffic

Call = Callable[..., dict[str, Any]]  # (service, operation, **parameters); raises AwsError
WINDOW_DAYS = 14
_HOUR = 3600


def read_traffic(call: Call, endpoint: str, now: datetime) -> Traffic:
    """The last two weeks by the hour ("Metrics for monitoring Amazon SageMaker AI", SageMaker developer guide)."""
    wanted = {
        "requests": ("AWS/SageMaker", "Invocations", "Sum"),
        "model": ("AWS/SageMaker", "ModelLatency", "Sum"),
        "models": ("AWS/SageMaker", "ModelLatency", "SampleCount"),
        "overhead": ("AWS/SageMaker", "OverheadLatency", "Sum"),
        "overheads": ("AWS/SageMaker", "OverheadLatency", "SampleCount"),
        "memory": ("/aws/sagemaker/Endpoints", "MemoryUtilization", "Maximum"),
    }
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": names.VARIANT}]
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
                        "Metric": {"Namespace": namespace, "MetricName": metric, "Dimensions": dimensions},
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
        _average(found["overhead"], found["overheads"]),
        max(found["memory"], default=None),
    )


def _average(microseconds: list[Decimal], counts: list[Decimal]) -> Decimal | None:
    count = sum(counts, Decimal(0))
    return sum(microseconds, Decimal(0)) / count / 10**6 if count else None
