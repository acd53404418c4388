"""What a summary says of an endpoint's cost and of what it could not see."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from builders import NOON
from cli.summary import Deployed, Told, serving
from mlplatform import names
from mlplatform.errors import AwsError
from mlplatform.facts import STACK_TAG, HostingKind, Metered, SpendMonth
from mlplatform.recommendations import AdviceFacts, EndpointUse

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/shop-churn"
ENDPOINT = EndpointUse("shop-churn", ARN, NOON, "ml.c5.large", 2, 1, {STACK_TAG: "shop"}, Decimal(84))
SERVERLESS = replace(ENDPOINT, instance_type=None, kind=HostingKind.SERVERLESS)
DEPLOYED = Deployed({"Bucket": {"Type": "AWS::S3::Bucket"}}, {"Bucket": "b"}, {}, {"AWS::Region": "us-east-1"})


def facts(endpoint: EndpointUse) -> AdviceFacts:
    return AdviceFacts("shop", "us-east-1", NOON, 14, "mon-fri 08:00-18:00", Decimal(50), endpoints=(endpoint,))


def month(usd: str, after: timedelta) -> SpendMonth:
    """What the meter has `after` the endpoint's creation on 2026-11-23 at noon."""
    item = Metered("hosting", "shop-churn", {}, {"2026-11-23": Decimal(usd)}, NOON + after)
    return SpendMonth("2026-11", NOON + after, {names.run_key(ARN, NOON): item})


@pytest.mark.parametrize(
    ("endpoint", "metered", "usd"),
    [
        # 2 x 0.102 USD x 730 hours, half of the week
        (ENDPOINT, None, "74.46"),
        # a month of 730 hours has 30.41667 days: a tenth of them at 2 USD a day
        (SERVERLESS, month("4", timedelta(days=2)), "60.83"),
        (SERVERLESS, month("0.10", timedelta(hours=1)), "3.04"),  # in its first hour: of a day, not of an hour
        (SERVERLESS, None, None),
        (replace(SERVERLESS, created=NOON - timedelta(days=1)), month("4", timedelta(days=2)), None),  # another run
        (replace(ENDPOINT, kind=HostingKind.SCALE_TO_ZERO), month("4", timedelta(days=2)), "60.83"),
    ],
)
def test_what_costs_by_use_costs_what_the_meter_says(
    endpoint: EndpointUse, metered: SpendMonth | None, usd: str | None
) -> None:
    [cost] = serving(facts(endpoint), metered)
    assert cost.usd == (None if usd is None else pytest.approx(Decimal(usd), abs=Decimal("0.005")))
    if endpoint.kind is not HostingKind.REAL_TIME:
        assert cost.always_on_usd == cost.usd  # closed hours save nothing where there are none


def told(codes: dict[str, str]) -> list[str]:
    """The security of a bucket where these calls are refused with these codes; it has nothing but versions."""

    def call(service: str, operation: str, **_request: Any) -> dict[str, Any]:
        if operation in codes:
            raise AwsError(service, operation, codes[operation], "said AWS")
        return {"Status": "Enabled"} if operation == "get_bucket_versioning" else {}

    return Told(call, DEPLOYED).about("Bucket")[1]


def test_what_is_not_set_is_no_measure_and_what_may_not_be_looked_at_is_named() -> None:
    assert told({"get_bucket_policy": "NoSuchBucketPolicy"}) == ["versioned"]
    hidden = told(
        {"get_bucket_policy": "AccessDenied", "get_public_access_block": "NoSuchPublicAccessBlockConfiguration"}
    )
    assert hidden == ["versioned", "not visible: get_bucket_policy"]


def test_a_call_that_failed_is_no_missing_measure() -> None:
    with pytest.raises(AwsError, match="SlowDown"):
        told({"get_bucket_policy": "SlowDown"})
