"""Which kind a model gets whose job.json leaves that to the platform. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

import builders
from builders import endpoint
from mlplatform.choosing import choose
from mlplatform.facts import Endpoint, HostingKind, Traffic

ALWAYS = builders.settings(office_hours="always-on")
A_DAY = 24


def traffic(per_hour: int, hours: int = A_DAY) -> Traffic:
    """Of a model that takes 36 ms: on an ml.c5.large real-time costs 74.46 USD a month."""
    return Traffic((Decimal(per_hour),) * hours, Decimal("0.036"), None, None)


def serverless(**changed: Any) -> Endpoint:
    return endpoint(kind=HostingKind.SERVERLESS, instance_type=None, memory_gb=2, max_concurrency=5, **changed)


@pytest.mark.parametrize(
    ("why", "hosting", "live", "seen", "kind", "said"),
    [
        ("nothing is known", "kind=auto", None, None, "real-time", "of its requests none were seen"),
        ("hardly anything is", "kind=auto", serverless(), traffic(9, 3), "serverless", "only 3 hours were seen"),
        ("few are declared", "kind=auto requests_per_day=1000", None, None, "serverless", "serverless (2 GB) is the"),
        ("many are", "kind=auto requests_per_day=5000000", None, None, "real-time", "real-time"),
        ("few are seen", "kind=auto", endpoint(), traffic(40), "serverless", "For 960 requests a day"),
        ("none may wait", "kind=auto latency_ms=50 requests_per_day=1000", None, None, "real-time", "real-time"),
        (
            "it has a GPU",
            "kind=auto instance_type=ml.g4dn.xlarge requests_per_day=960000",
            None,
            None,
            "real-time",
            "For 960",
        ),
        ("a fifth less would be worth it", "kind=auto", endpoint(), traffic(20_000), "serverless", "serverless"),
        ("a tenth less is not", "kind=auto", endpoint(), traffic(23_000), "real-time", "not enough for a move"),
        ("it is what it should be", "kind=auto", serverless(), traffic(40), "serverless", "serverless (2 GB) is"),
    ],
)
def test_the_kind_is_the_cheapest_that_keeps_the_promise_and_is_worth_a_move(
    why: str, hosting: str, live: Endpoint | None, seen: Traffic | None, kind: str, said: str
) -> None:
    """25,500 requests an hour are the break-even of this model (tests/unit/test_hosting.py)."""
    chosen = choose(hosting, live, seen, ALWAYS)
    assert f"kind={kind}" in chosen.hosting, why
    assert said in chosen.reason


def test_the_choice_comes_with_what_each_kind_would_cost() -> None:
    chosen = choose("kind=auto requests_per_day=1000 max_instances=3", None, None, ALWAYS)
    assert chosen.hosting == "kind=serverless memory_gb=2"
    assert [line.split(" (")[0] for line in chosen.table] == [
        "serverless",
        "real-time",
        "asynchronous",
        "scale-to-zero",
    ]
    assert "74.46" in chosen.table[1]


def test_the_data_of_a_request_is_counted_by_the_stored_one() -> None:
    """4 MB of 30,417 requests a month are 121.7 GB, which cost 1.95 USD, in real time as well."""
    chosen = choose("kind=auto requests_per_day=1000", None, None, ALWAYS, b"x" * 4_000_000)
    assert "$2.15 a month" in chosen.table[0], "0.20 USD of it for the processors"
    assert "$76.41 a month" in chosen.table[1], "74.46 USD of it for the instance"


def test_what_means_nothing_to_the_kind_is_left_out_and_the_rest_is_kept() -> None:
    chosen = choose("kind=auto instance_type=ml.m5.large latency_ms=50 requests_per_day=1000", None, None, ALWAYS)
    assert chosen.hosting == "instance_type=ml.m5.large kind=real-time"


def test_the_memory_of_a_live_serverless_model_is_a_share_of_its_own_and_not_of_an_instances() -> None:
    """75 % of 2 GB, and a fifth more, fit into 2 GB; of the 16 GiB of an ml.m5.xlarge they would fit into no size."""
    seen = replace(traffic(40), memory_percent=Decimal(75))
    chosen = choose("kind=auto instance_type=ml.m5.xlarge", serverless(), seen, ALWAYS)
    assert chosen.hosting == "kind=serverless memory_gb=2"


def test_in_a_network_of_its_own_serverless_is_not_chosen() -> None:
    private = builders.settings(office_hours="always-on", subnet_ids="subnet-0a", security_group_id="sg-0c")
    assert "kind=real-time" in choose("kind=auto requests_per_day=1000", None, None, private).hosting
