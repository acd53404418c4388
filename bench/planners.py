"""One planner pass over a large account: 10,000 endpoints, in CPU seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench.figures import Figure

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1] / "tests/unit")]

FLEET = 10_000


def measure() -> list[Figure]:
    """With the fleets and facts that the planners' own tests use."""
    import test_office_hours as hours
    import test_recommendations as advice
    import test_spend as spending

    import builders
    from mlplatform import spend
    from mlplatform.office_hours import plan_office_hours
    from mlplatform.recommendations import recommend

    fleet = [replace((hours.running, hours.parked)[n % 2](), name=f"ml-platform-d{n}") for n in range(FLEET)]
    at = hours.utc("2026-11-23 12:07")
    runs = [spending.endpoint(f"ml-platform-{n}") for n in range(FLEET)]
    facts = spending.facts(spending.metered(runs, spending.HOUR), runs, now=spending.NOON + 2 * spending.HOUR)
    idle = advice.facts(
        endpoints=tuple(advice.endpoint(f"shop-{n}", tags=advice.DEV, invocations=14_000) for n in range(FLEET))
    )
    passes: dict[str, Callable[[], object]] = {
        "office hours": lambda: plan_office_hours(fleet, builders.settings(), frozenset(), at),
        "spend": lambda: spend.plan_spend(facts, spending.settings()),
        "recommendations": lambda: recommend(idle, advice.Prices()),
    }
    return [Figure(f"{name}, {FLEET:,} endpoints", _cpu_seconds(run), "s", "<= 1") for name, run in passes.items()]


def _cpu_seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started
