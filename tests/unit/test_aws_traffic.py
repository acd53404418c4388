"""What an endpoint's requests were like: by the metrics that its kind of hosting publishes, and no others."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from mlplatform.aws_traffic import read_traffic
from mlplatform.facts import HostingKind, Traffic

NOW = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)
VARIANT = {"EndpointName": "shop-churn", "VariantName": "AllTraffic"}
COMPONENT = {"InferenceComponentName": "shop-churn"}


class CloudWatch:
    """Two hours of an endpoint, in which every metric that there is has a value."""

    def __init__(self) -> None:
        self.asked: dict[str, dict[str, str]] = {}  # metric -> dimensions

    def __call__(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
        results = []
        for query in request["MetricDataQueries"]:
            metric = query["MetricStat"]["Metric"]
            self.asked[metric["MetricName"]] = {one["Name"]: one["Value"] for one in metric["Dimensions"]}
            values = [2.0, 2.0] if query["MetricStat"]["Stat"] == "SampleCount" else [3e6, 1e6]
            results.append({"Id": query["Id"], "Values": values})
        return {"MetricDataResults": results}


@pytest.mark.parametrize(
    ("kind", "requests", "scope", "overhead", "setup"),
    [
        (HostingKind.REAL_TIME, "Invocations", VARIANT, Decimal(1), None),
        (HostingKind.SERVERLESS, "Invocations", VARIANT, None, Decimal(1)),  # its overhead contains cold starts
        (HostingKind.ASYNCHRONOUS, "InvocationsProcessed", VARIANT, None, None),
        (HostingKind.SCALE_TO_ZERO, "Invocations", COMPONENT, Decimal(1), None),
    ],
)
def test_each_kind_is_asked_for_what_it_publishes(
    kind: HostingKind, requests: str, scope: dict[str, str], overhead: Decimal | None, setup: Decimal | None
) -> None:
    cloudwatch = CloudWatch()
    found = read_traffic(cloudwatch, "shop-churn", kind, NOW)
    # 4,000,000 microseconds of 4 requests
    assert found == Traffic((Decimal(3000000), Decimal(1000000)), Decimal(1), overhead, Decimal(3000000), setup)
    assert cloudwatch.asked[requests] == scope
    assert ("OverheadLatency" in cloudwatch.asked) is (overhead is not None)
    assert ("Invocations" in cloudwatch.asked) is (kind is not HostingKind.ASYNCHRONOUS)
