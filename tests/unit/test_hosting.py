"""What each kind of hosting costs for the same traffic, and which one is chosen."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

import pytest

from mlplatform.errors import UnknownPrice
from mlplatform.facts import HostingKind
from mlplatform.hosting import (
    Choice,
    Option,
    Promise,
    Workload,
    flat_rate,
    measured_in_gib,
    memory_need_gb,
    plan_hosting,
    share_awake,
)

FOR_EVER = Decimal("Infinity")
# 730 x 3,600 = 2,628,000 a month
ONE_A_SECOND = (Decimal(3600),)


class Prices:
    """A price list that no rebuild of the real one can change. An ml.c5.large costs 74.46 a month."""

    HOUR: ClassVar = {"ml.c5.large": "0.102", "ml.g4dn.xlarge": "0.7364"}
    ITEM: ClassVar = {"serverless.gb_second": "0.00002", "endpoint.gb_processed": "0.016"}

    def usd_per_hour(self, instance_type: str, use: str, region: str) -> Decimal:
        if instance_type not in self.HOUR:
            raise UnknownPrice(f"There is no price for {instance_type}.")
        return Decimal(self.HOUR[instance_type])

    def usd(self, item: str, region: str) -> Decimal:
        return Decimal(self.ITEM[item])


def workload(**given: Any) -> Workload:
    return Workload(
        **{
            "region": "us-east-1",
            "instance_type": "ml.c5.large",
            "requests_per_hour": ONE_A_SECOND,
            "model_seconds": Decimal("0.036"),
            **given,
        }
    )


def plan(promise: Promise | None = None, **given: Any) -> Choice:
    return plan_hosting(workload(**given), promise or Promise(), Prices())


def of(choice: Choice, kind: HostingKind) -> list[Option]:
    return sorted((one for one in choice.options if one.kind is kind), key=lambda one: one.gb or 0)


@pytest.mark.parametrize(
    ("given", "dollars", "what"),
    [
        # 730 x 0.102
        ({}, "74.46", "1 x ml.c5.large"),
        # the same for 50 of 168 hours
        ({"hours_per_week": Decimal(50)}, "22.16", "1 x ml.c5.large, 50 hours a week"),
        ({"min_instances": 2}, "148.92", "2 x ml.c5.large"),
        # at 1,000 a minute each: 1, 1 and 3 instances, so 5/3 on average
        (
            {
                "requests_per_hour": (Decimal(0), Decimal(60_000), Decimal(180_000)),
                "safe_requests_per_minute": Decimal(1000),
            },
            "124.10",
            "1 to 3 x ml.c5.large",
        ),
        # 60,001 in an hour are more than one takes
        (
            {"requests_per_hour": (Decimal(60_001),), "safe_requests_per_minute": Decimal(1000)},
            "148.92",
            "2 x ml.c5.large",
        ),
        # 2,628,000 x 10 kB = 26.28 GB at 0.016: 0.42048 more
        ({"gb_per_request": Decimal("0.00001")}, "74.88", "1 x ml.c5.large"),
    ],
)
def test_real_time_pays_for_the_instances_of_each_open_hour(given: dict[str, Any], dollars: str, what: str) -> None:
    (option,) = of(plan(**given), HostingKind.REAL_TIME)
    assert (round(option.usd_per_month, 2), option.what) == (Decimal(dollars), what)
    assert option.first_seconds == option.latency_seconds == Decimal("0.036")


def test_serverless_pays_for_gigabyte_seconds_and_one_gigabyte_is_slow() -> None:
    found = of(plan(memory_gb=Decimal(1)), HostingKind.SERVERLESS)
    # 2,628,000 x 0.00002 = 52.56 a GB-second; 0.036 s + 0.064 s = 0.1 s, with 1 GB 0.072 s + 0.064 s = 0.136 s
    assert [(one.gb, one.usd_per_month, one.latency_seconds) for one in found] == [
        (1, Decimal("7.14816"), Decimal("0.136")),
        (2, Decimal("10.512"), Decimal("0.1")),
        (3, Decimal("15.768"), Decimal("0.1")),
        (4, Decimal("21.024"), Decimal("0.1")),
        (5, Decimal("26.28"), Decimal("0.1")),
        (6, Decimal("31.536"), Decimal("0.1")),
    ]
    assert found[1].first_seconds == Decimal("30.1")


@pytest.mark.parametrize(("need", "sizes"), [("0.3", 6), ("1.01", 5), ("6", 1), ("6.1", 0)])
def test_serverless_has_the_sizes_that_the_model_fits_in(need: str, sizes: int) -> None:
    assert len(of(plan(memory_gb=Decimal(need)), HostingKind.SERVERLESS)) == sizes


@pytest.mark.parametrize(
    ("on", "percent", "gb"),
    [
        ("ml.c5.large", None, "2"),
        ("ml.c5.large", "20", "2"),  # 0.8 GiB of 4
        ("ml.c5.large", "75", "3.6"),  # 3 GiB, and a fifth more
        ("ml.m5.xlarge", "50", "9.6"),  # 8 GiB of 16
        ("ml.r5.large", "25", "4.8"),  # 4 GiB of 16
        ("ml.t2.medium", "90", "2"),  # its memory is not in the table
        (HostingKind.SERVERLESS, "90", "2.16"),  # 1.8 of the 2 GB that the variant has
        (HostingKind.SCALE_TO_ZERO, "90", "2.16"),  # and of those that a copy reserves
    ],
)
def test_the_memory_that_a_model_needs_is_what_it_took_and_never_below_two_gigabytes(
    on: str, percent: str | None, gb: str
) -> None:
    kind = on if isinstance(on, HostingKind) else HostingKind.REAL_TIME
    base = measured_in_gib(kind, on, Decimal(2))
    assert memory_need_gb(base, None if percent is None else Decimal(percent)) == Decimal(gb)


def test_a_cold_start_that_was_measured_takes_the_place_of_the_assumed_one() -> None:
    (option, *_) = of(plan(cold_start_seconds=Decimal(4)), HostingKind.SERVERLESS)
    assert option.first_seconds - option.latency_seconds == 4


def test_closed_hours_cost_real_time_nothing_and_serverless_no_less() -> None:
    closed = plan(requests_per_hour=flat_rate(Decimal(86_400), Decimal(50)), hours_per_week=Decimal(50))
    assert round(of(closed, HostingKind.SERVERLESS)[0].usd_per_month, 6) == Decimal("10.512")


def test_cold_starts_are_the_requests_that_come_after_five_quiet_minutes() -> None:
    # 12 an hour: e^-1 = 0.367879 of 730 x 12 = 8,760
    (option, *_) = of(plan(requests_per_hour=(Decimal(12),)), HostingKind.SERVERLESS)
    assert round(option.pauses_per_month) == 3223


@pytest.mark.parametrize(
    ("per_hour", "copies", "queued"),
    [
        ("0", "0", "0"),
        # After 27 minutes e^(27/60) = 1.56831: awake for 0.56831 + 0.15667 = 0.72498 h of every 1.72498 h.
        # After 15 minutes e^(15/60) = 1.28403: 0.28403 + 0.15667 = 0.44069 h of 1.44069 h.
        ("1", "0.4203", "0.3059"),
        # e^(135/60) = 9.48774: 1.69755 + 0.15667 = 1.85421 h of 2.05421 h; e^(75/60) = 3.49034: 0.65474 of 0.85474 h
        ("5", "0.9026", "0.7660"),
        # e^9 = 8103: 405.1 + 0.157 h of 0.05 more; e^5 = 148.4: 7.37 + 0.157 h of 0.05 more
        ("20", "0.9999", "0.9934"),
        ("100000", "1.0000", "1.0000"),
    ],
)
def test_the_share_of_hours_that_what_sleeps_is_paid_for(per_hour: str, copies: str, queued: str) -> None:
    assert round(share_awake(Decimal(per_hour), HostingKind.SCALE_TO_ZERO), 4) == Decimal(copies)
    assert round(share_awake(Decimal(per_hour), HostingKind.ASYNCHRONOUS), 4) == Decimal(queued)


def test_scale_to_zero_says_how_long_its_callers_get_errors() -> None:
    choice = plan(requests_per_hour=(Decimal(1),))
    (asleep,), (queued,) = of(choice, HostingKind.SCALE_TO_ZERO), of(choice, HostingKind.ASYNCHRONOUS)
    # 74.46 x 0.42028 and x 0.30589; 730 h / 1.72498 h = 423.19 wakes of 9.4 minutes
    assert round(asleep.usd_per_month, 2) == Decimal("31.29")
    assert round(queued.usd_per_month, 2) == Decimal("22.78")
    assert round(asleep.pauses_per_month, 1) == Decimal("423.2")
    assert round(asleep.failing_minutes_per_month) == 3978
    assert asleep.first_seconds == Decimal("564.036")
    assert queued.failing_minutes_per_month == 0


def test_quiet_nights_are_seen_hour_by_hour() -> None:
    # 8 of 24 hours with 20 requests, awake for 0.99988 of them: 74.46 / 3 x 0.99988
    choice = plan(requests_per_hour=(Decimal(0),) * 16 + (Decimal(20),) * 8)
    assert round(of(choice, HostingKind.SCALE_TO_ZERO)[0].usd_per_month, 2) == Decimal("24.82")


@pytest.mark.parametrize(
    ("why", "given", "promise", "kind"),
    [
        ("few requests, and a first one may wait", {}, Promise(Decimal(1)), HostingKind.SERVERLESS),
        ("no request may wait 30 s", {}, Promise(Decimal(1), Decimal(5)), HostingKind.REAL_TIME),
        ("serverless adds 64 ms", {}, Promise(Decimal("0.05")), HostingKind.REAL_TIME),
        # 74.46 / (0.1 s x 2 GB x 0.00002) = 18,615,000 a month = 25,500 an hour
        ("just below break-even", {"requests_per_hour": (Decimal(25_499),)}, Promise(), HostingKind.SERVERLESS),
        ("just above break-even", {"requests_per_hour": (Decimal(25_501),)}, Promise(), HostingKind.REAL_TIME),
        (
            "a GPU sleeps if callers may wait for minutes",
            {"instance_type": "ml.g4dn.xlarge", "requests_per_hour": (Decimal(1),), "not_serverless": "a GPU"},
            Promise(first_seconds=FOR_EVER),
            HostingKind.SCALE_TO_ZERO,
        ),
        (
            "every answer may take ten minutes, and no call may fail",
            {"instance_type": "ml.g4dn.xlarge", "requests_per_hour": (Decimal(1),), "not_serverless": "a GPU"},
            Promise(Decimal(600)),
            HostingKind.ASYNCHRONOUS,
        ),
        (
            "a GPU does not sleep otherwise",
            {"instance_type": "ml.g4dn.xlarge", "requests_per_hour": (Decimal(1),), "not_serverless": "a GPU"},
            Promise(),
            HostingKind.REAL_TIME,
        ),
        ("too slow on any", {}, Promise(Decimal("0.03")), None),
        # 4,000 a second at 0.1 s: 400 at a time, and 240 instances
        (
            "too many for both",
            {
                "requests_per_hour": (Decimal(14_400_000),),
                "safe_requests_per_minute": Decimal(1000),
                "max_instances": 5,
            },
            Promise(),
            None,
        ),
    ],
)
def test_the_cheapest_kind_that_keeps_the_promise_is_chosen(
    why: str, given: dict[str, Any], promise: Promise, kind: HostingKind | None
) -> None:
    chosen = plan(promise, **given).chosen
    assert (chosen.kind if chosen else None) == kind, why


def test_the_choice_says_why_with_its_figures() -> None:
    # 1,000 a day x 30.41667 x 0.2 s x 2 GB x 0.00002 = 0.24333; 74.46 / 0.000008 / 30.41667 = 306,000
    choice = plan(
        Promise(Decimal(1)), requests_per_hour=flat_rate(Decimal(1000), Decimal(168)), model_seconds=Decimal("0.136")
    )
    assert choice.reason == (
        "serverless (2 GB) is the cheapest that answers within 1.0 s: $0.24 a month, 200 ms a request and 30 s after a "
        "pause, against $74.46 for real-time (1 x ml.c5.large); real-time is cheaper than serverless from 306,000 "
        "requests a day on."
    )


def test_what_is_not_kept_is_said_of_each_kind() -> None:
    choice = plan(
        Promise(Decimal("0.03")),
        requests_per_hour=(Decimal(14_400_000),),
        safe_requests_per_minute=Decimal(1000),
        max_instances=5,
    )
    # 14,400,000 / 60 / 1,000; 4,000 a second x 0.1 s
    assert of(choice, HostingKind.REAL_TIME)[0].against == (
        "36 ms is more than the 30 ms promised",
        "its busiest hour needs 240 instances, and 5 are the most",
    )
    assert (
        "its busiest hour has 400 requests at a time, and serverless takes 200"
        in of(choice, HostingKind.SERVERLESS)[0].against
    )
    assert choice.reason.startswith("No kind of hosting keeps the promise; the cheapest, ")


def test_without_requests_everything_but_instances_is_free() -> None:
    choice = plan(requests_per_hour=(Decimal(0),))
    assert {one.kind for one in choice.options if one.usd_per_month == 0} == {
        HostingKind.SERVERLESS,
        HostingKind.SCALE_TO_ZERO,
        HostingKind.ASYNCHRONOUS,
    }
    assert choice.chosen is not None
    assert choice.chosen.kind is HostingKind.SERVERLESS


def test_a_type_without_a_price_is_named() -> None:
    with pytest.raises(UnknownPrice, match=r"ml\.x9\.large"):
        plan(instance_type="ml.x9.large")
