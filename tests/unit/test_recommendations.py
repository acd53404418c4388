"""What would make the bill smaller, held to dollars worked out by hand.

The window is 14 days and a month 730 hours, so that what was counted in the window happens 730 / 24 / 14 = 2.17262
times a month.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator

from mlplatform.errors import UnknownPrice
from mlplatform.facts import STACK_TAG
from mlplatform.recommendations import (
    AdviceFacts,
    AlarmUse,
    BucketUse,
    ClusterUse,
    Confidence,
    EndpointUse,
    JobUse,
    LogGroupUse,
    NatUse,
    Recommendation,
    SnapshotUse,
    VolumeUse,
    recommend,
    total,
)

NOW = datetime(2026, 11, 23, 7, 30, tzinfo=UTC)


class Prices:
    """A price list that no rebuild of the real one can change."""

    HOUR: ClassVar = {
        "ml.m5.large": "0.115",
        "ml.m5.xlarge": "0.23",
        "ml.c5.large": "0.102",
        "ml.t2.medium": "0.056",
        "ml.g4dn.xlarge": "0.7364",
    }
    ITEM: ClassVar = {
        "serverless.gb_second": "0.00002",
        "s3.gb_month.standard": "0.023",
        "s3.gb_month.standard_ia": "0.0125",
        "logs.gb_month": "0.03",
        "cloudwatch.alarm_month": "0.1",
        "cloudwatch.alarm_month.high_resolution": "0.3",
        "nat_gateway.hour": "0.045",
        "nat_gateway.gb": "0.045",
        "eks.cluster_hour": "0.1",
        "eks.cluster_hour.extended": "0.6",
        "ebs.gb_month.gp3": "0.08",
        "ebs.snapshot_gb_month": "0.05",
    }

    def usd_per_hour(self, instance_type: str, use: str, region: str) -> Decimal:
        return self._price(self.HOUR, instance_type)

    def usd(self, item: str, region: str) -> Decimal:
        return self._price(self.ITEM, item)

    @staticmethod
    def _price(table: dict[str, str], key: str) -> Decimal:
        if key not in table:
            raise UnknownPrice(f"There is no price for {key}.")
        return Decimal(table[key])


def facts(**given: Any) -> AdviceFacts:
    return AdviceFacts(
        **{
            "stack": "shop",
            "region": "us-east-1",
            "now": NOW,
            "window_days": 14,
            "office_hours": "mon-fri 08:00-18:00",
            "office_hours_per_week": Decimal(50),
            **given,
        }
    )


def job(name: str = "job", kind: str = "ml.m5.xlarge", count: int = 1, **given: Any) -> JobUse:
    seconds = given.pop("seconds", 0)
    return JobUse(
        name,
        kind,
        count,
        **{"spot": False, "checkpoints": True, "training_seconds": seconds, "billable_seconds": seconds, **given},
    )


def endpoint(name: str = "shop-churn", kind: str | None = "ml.m5.large", **given: Any) -> EndpointUse:
    return EndpointUse(
        **{
            "name": name,
            "arn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name}",
            "created": NOW - timedelta(days=60),
            "instance_type": kind,
            "instance_count": 1,
            "variants": 1,
            "tags": {"Environment": "prod", STACK_TAG: "shop"},
            "hours_per_week": Decimal(168),
            "observed_days": Decimal(14),
            **given,
        }
    )


DEV = {"Environment": "dev", STACK_TAG: "shop"}


@pytest.mark.parametrize(
    ("what", "given", "dollars", "confidence"),
    [
        # 7 h x 0.23 = 1.61; x 2.17262 = 3.49792 a month; two thirds of it
        ("Train on spot", {"jobs": (job(seconds=7 * 3600),)}, "2.31", Confidence.MEDIUM),
        # 2 machines for half as long cost the same
        ("Train on spot", {"jobs": (job(seconds=7 * 1800, count=2),)}, "2.31", Confidence.MEDIUM),
        # three spot jobs billed 25 of 100 seconds: 3.49792 x 0.75
        (
            "Train on spot",
            {
                "jobs": (
                    job(seconds=7 * 3600),
                    *(job(str(n), spot=True, training_seconds=100, billable_seconds=25) for n in range(3)),
                )
            },
            "2.62",
            Confidence.HIGH,
        ),
        # 4 h x 0.23 x 0.19 = 0.1748; x 2.17262
        (
            "Keep checkpoints",
            {"jobs": (job(spot=True, checkpoints=False, seconds=4 * 3600),)},
            "0.38",
            Confidence.LOW,
        ),
        # 1 h x 0.23 x 0.07 = 0.0161; x 2.17262
        ("Keep checkpoints", {"jobs": (job(spot=True, checkpoints=False, seconds=3600),)}, "0.03", Confidence.LOW),
        # 730 h x 0.115
        ("Delete the idle endpoint", {"endpoints": (endpoint(idle_days=7, invocations=0),)}, "83.95", Confidence.HIGH),
        # the same for 50 of 168 hours a week
        (
            "Delete the idle endpoint",
            {"endpoints": (endpoint(idle_days=9, invocations=0, hours_per_week=Decimal(50), tags=DEV),)},
            "24.99",
            Confidence.HIGH,
        ),
        # 1,000 requests a day x 0.2 s x 2 GB x 0.00002 = 0.24333 a month, instead of 730 x 0.102 = 74.46
        (
            "Serve shop-churn serverless",
            {"endpoints": (endpoint(kind="ml.c5.large", invocations=14_000, latency_seconds=Decimal("0.136")),)},
            "74.22",
            Confidence.MEDIUM,
        ),
        # a GPU cannot be serverless: one request an hour still pays 42.0283 % of 730 x 0.7364 = 537.572, which
        # tests/unit/test_hosting.py works out
        ("scale to zero", {"endpoints": (endpoint(kind="ml.g4dn.xlarge", invocations=336),)}, "311.64", Confidence.LOW),
        # half of 730 x 0.23; 400 requests a second are too many for serverless
        (
            "on ml.m5.large instead of ml.m5.xlarge",
            {
                "endpoints": (
                    endpoint(
                        kind="ml.m5.xlarge",
                        invocations=14 * 86400 * 400,
                        cpu_peak_percent=Decimal(34),
                        memory_peak_percent=Decimal(39),
                    ),
                )
            },
            "83.95",
            Confidence.MEDIUM,
        ),
        # 83.95 x 118 / 168
        ("sleep outside office hours", {"endpoints": (endpoint(tags=DEV),)}, "58.96", Confidence.HIGH),
        ("burstable", {"endpoints": (endpoint(kind="ml.t2.medium"),)}, "0.00", Confidence.HIGH),
        # 0.115 x 730 x 20 %
        (
            "savings plan",
            {"endpoints": (endpoint(),), "savings_plan_usd_per_hour": Decimal(0)},
            "16.79",
            Confidence.LOW,
        ),
        # a plan of 0.046 an hour pays for 0.0575 at 20 % off: 0.0575 are left
        (
            "savings plan",
            {"endpoints": (endpoint(),), "savings_plan_usd_per_hour": Decimal("0.046")},
            "8.40",
            Confidence.LOW,
        ),
        # of 100 GB, 80 have been there for a month: 80 x (0.023 - 0.0125)
        ("lifecycle", {"buckets": (BucketUse("b", False, Decimal(100), Decimal(80)),)}, "0.84", Confidence.MEDIUM),
        ("lifecycle", {"buckets": (BucketUse("b", False, None, None),)}, "0.00", Confidence.LOW),
        # 10 GB of 70 days, 7 of which stay: 9 x 0.03
        (
            "forget",
            {"log_groups": (LogGroupUse("/any", NOW - timedelta(days=70), 10 * 10**9, None),)},
            "0.27",
            Confidence.MEDIUM,
        ),
        # 730 x 0.045
        ("unused NAT", {"nat_gateways": (NatUse("nat-1", "vpc-1", Decimal(0), False),)}, "32.85", Confidence.HIGH),
        # 100 GB x 2.17262 x 0.045
        ("S3 traffic", {"nat_gateways": (NatUse("nat-1", "vpc-1", Decimal(100), False),)}, "9.78", Confidence.LOW),
        # 730 x 0.1, 730 x (0.6 - 0.1)
        ("Delete the EKS cluster", {"clusters": (ClusterUse("k", False, 0),)}, "73.00", Confidence.MEDIUM),
        ("extended support", {"clusters": (ClusterUse("k", True, 2),)}, "365.00", Confidence.HIGH),
        ("unattached volume", {"volumes": (VolumeUse("vol-1", "gp3", 100, NOW),)}, "8.00", Confidence.HIGH),
        # only the one of 181 days
        (
            "older than 180 days",
            {
                "snapshots": (
                    SnapshotUse("old", 200, NOW - timedelta(days=181)),
                    SnapshotUse("new", 900, NOW - timedelta(days=179)),
                )
            },
            "10.00",
            Confidence.LOW,
        ),
        # 0.1 + 0.3, for a period of 10 s
        (
            "endpoints that are gone",
            {"alarms": (AlarmUse("a", "shop-gone", 60), AlarmUse("b", "shop-gone", 10))},
            "0.40",
            Confidence.HIGH,
        ),
    ],
)
def test_each_kind_of_waste_is_priced(what: str, given: dict[str, Any], dollars: str, confidence: Confidence) -> None:
    found = [one for one in recommend(facts(**given), Prices()) if what in one.title]
    assert [(one.usd_per_month, one.confidence) for one in found] == [(Decimal(dollars), confidence)]
    assert found[0].evidence
    assert found[0].how


@pytest.mark.parametrize(
    ("why", "given"),
    [
        ("nothing is there", {}),
        ("spot with checkpoints", {"jobs": (job(spot=True, seconds=3600),)}),
        ("a job that was billed nothing", {"jobs": (job(seconds=0),)}),
        ("six idle days", {"endpoints": (endpoint(idle_days=6, invocations=0),)}),
        ("an endpoint of unknown environment may be production", {"endpoints": (endpoint(tags={}),)}),
        ("it sleeps already", {"endpoints": (endpoint(tags=DEV, hours_per_week=Decimal(50)),)}),
        ("the smallest size", {"endpoints": (endpoint(cpu_peak_percent=Decimal(1), memory_peak_percent=Decimal(1)),)}),
        (
            "CPU is used, memory is not",
            {
                "endpoints": (
                    endpoint(
                        kind="ml.m5.xlarge", cpu_peak_percent=Decimal(36), memory_peak_percent=Decimal(1), invocations=0
                    ),
                )
            },
        ),
        ("too busy for serverless", {"endpoints": (endpoint(kind="ml.c5.large", invocations=14 * 86400 * 100),)}),
        ("a GPU's errors are not worth 9 %", {"endpoints": (endpoint(kind="ml.g4dn.xlarge", invocations=6 * 336),)}),
        ("serverless has one variant", {"endpoints": (endpoint(kind="ml.c5.large", invocations=14_000, variants=2),)}),
        ("coming or going", {"endpoints": (endpoint(kind=None, idle_days=90),)}),
        ("a lifecycle", {"buckets": (BucketUse("b", True, Decimal(100), Decimal(80)),)}),
        ("a retention", {"log_groups": (LogGroupUse("/any", NOW, 10**9, 30),)}),
        ("a gateway endpoint", {"nat_gateways": (NatUse("n", "v", Decimal(9), True),)}),
        (
            "alarms of an endpoint that is there",
            {"endpoints": (endpoint(),), "alarms": (AlarmUse("a", "shop-churn", 60),)},
        ),
        ("plans cover it", {"endpoints": (endpoint(),), "savings_plan_usd_per_hour": Decimal("0.092")}),
        ("nobody knows about plans", {"endpoints": (endpoint(),)}),
    ],
)
def test_what_is_not_wasted_is_not_advised(why: str, given: dict[str, Any]) -> None:
    assert [one.title for one in recommend(facts(**given), Prices())] == [], why


def test_the_break_even_is_told() -> None:
    # 74.46 / (0.2 s x 2 GB x 0.00002) / 30.41667 days = 306,000 requests a day
    (found,) = recommend(
        facts(endpoints=(endpoint(kind="ml.c5.large", invocations=14_000, latency_seconds=Decimal("0.136")),)), Prices()
    )
    assert "breaks even at 306,000 requests a day" in found.evidence


def test_alternatives_about_one_endpoint_count_once() -> None:
    found = recommend(facts(endpoints=(endpoint(tags=DEV, idle_days=8, invocations=0),)), Prices())
    assert [one.usd_per_month for one in found] == [Decimal("83.95"), Decimal("58.96")]
    assert total(found) == Decimal("83.95")


def test_what_saves_most_has_the_first_number() -> None:
    found = recommend(
        facts(
            volumes=(VolumeUse("vol-1", "gp3", 100, NOW),),
            nat_gateways=(NatUse("nat-1", "vpc-1", Decimal(0), True),),
            clusters=(ClusterUse("k", False, 0),),
        ),
        Prices(),
    )
    assert [(one.number, str(one.usd_per_month)) for one in found] == [(1, "73.00"), (2, "32.85"), (3, "8.00")]


def test_a_type_without_a_price_is_named() -> None:
    found = recommend(
        facts(
            jobs=(job(kind="ml.x9.huge", seconds=60), job(seconds=60)),
            endpoints=(endpoint(kind="ml.x9.large"),),
            volumes=(VolumeUse("v", "io9", 1, NOW),),
        ),
        Prices(),
    )
    unknown = [one.evidence for one in found if "price is unknown" in one.title]
    assert unknown == [f"There is no price for {one}." for one in ("ml.x9.huge", "ml.x9.large", "ebs.gb_month.io9")]
    assert any("Train on spot" in one.title for one in found)


def test_an_alarm_about_an_endpoint_that_sleeps_or_runs_is_not_left_over() -> None:
    alarms = tuple(AlarmUse(name, name, 60) for name in ("shop-churn", "shop-asleep", "shop-gone"))
    found = recommend(facts(endpoints=(endpoint(),), asleep=frozenset({"shop-asleep"}), alarms=alarms), Prices())
    (advice,) = [one for one in found if "alarm" in one.title]
    assert advice.evidence == "shop-gone: there is no shop-gone."
    assert advice.how == "aws cloudwatch delete-alarms --alarm-names '[\"shop-gone\"]'"


def test_only_what_belongs_to_the_stack_is_offered_to_be_done() -> None:
    both = facts(
        endpoints=(endpoint(tags=DEV), endpoint("theirs", tags={"Environment": "dev"})),
        buckets=(
            BucketUse("ours", False, None, None, {"aws:cloudformation:stack-name": "shop"}),
            BucketUse("b", False, None, None),
        ),
        log_groups=tuple(
            LogGroupUse(name, NOW, 0, None)
            for name in ("/aws/sagemaker/Endpoints/shop-churn", "/aws/lambda/others-own")
        ),
        alarms=(AlarmUse("a", "shop-gone", 60),),
    )
    found = recommend(both, Prices())
    done = {call.operation: dict(call.request) for one in found for call in one.calls}
    assert set(done) == {"add_tags", "put_bucket_lifecycle_configuration", "put_retention_policy"}
    assert done["add_tags"]["ResourceArn"].endswith("endpoint/shop-churn")
    assert done["add_tags"]["Tags"] == [{"Key": "ml-platform:hours", "Value": "mon-fri 08:00-18:00"}]
    assert done["put_bucket_lifecycle_configuration"]["Bucket"] == "ours"
    assert done["put_retention_policy"] == {"logGroupName": "/aws/sagemaker/Endpoints/shop-churn", "retentionInDays": 7}
    assert sum(one.appliable for one in found) == 3
    assert len(found) == 7


def test_every_offered_call_is_one_that_aws_knows() -> None:
    found = recommend(
        facts(
            endpoints=(endpoint(tags=DEV),),
            buckets=(BucketUse("ours", False, None, None, {"aws:cloudformation:stack-name": "shop"}),),
            log_groups=(LogGroupUse("/aws/lambda/shop-x", NOW, 0, None),),
        ),
        Prices(),
    )
    calls = [call for one in found for call in one.calls]
    assert len(calls) == 3
    session = botocore.session.get_session()
    for call in calls:
        model = session.get_service_model(call.service)
        operation = next(name for name in model.operation_names if xform_name(name) == call.operation)
        report = ParamValidator().validate(dict(call.request), model.operation_model(operation).input_shape)
        assert not report.has_errors(), report.generate_report()


def test_a_key_stays_while_the_recommendation_does() -> None:
    one = facts(volumes=(VolumeUse("vol-1", "gp3", 100, NOW),))
    more = replace(one, clusters=(ClusterUse("k", False, 0),))

    def volume(those: AdviceFacts) -> Recommendation:
        return next(found for found in recommend(those, Prices()) if "vol-1" in found.title)

    assert (volume(one).number, volume(more).number) == (1, 2)
    assert volume(one).key == volume(more).key


def test_a_thousand_endpoints_are_planned_in_one_pass() -> None:
    many = facts(endpoints=tuple(endpoint(f"shop-{n}", tags=DEV, invocations=14_000) for n in range(1_000)))
    found = recommend(many, Prices())
    assert len(found) == 2_000


def test_what_sleeps_is_said_to_be_left_out_because_it_is_no_small_part_of_the_bill() -> None:
    assert facts(missing=("buckets",)).not_looked_at == ("buckets",)
    assert facts(missing=("buckets",), asleep=frozenset({"shop-b", "shop-a"})).not_looked_at == (
        "buckets",
        "what sleeps (shop-a, shop-b, which mlp costs advice looks at while they run)",
    )
