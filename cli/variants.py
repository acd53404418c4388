"""What the two models of an A/B test did with the requests that they got, and whether they differ: by CloudWatch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from cli import significance
from cli.connection import Connection
from cli.significance import Finding
from mlplatform import names
from mlplatform.endpoint_alarms import dimensions
from mlplatform.facts import CHALLENGER

# "Metrics for monitoring Amazon SageMaker AI with Amazon CloudWatch" (SageMaker developer guide): latencies are
# microseconds. All of it comes in one call.
_METRICS = {
    "requests": ("Invocations", "Sum"),
    "failed": ("Invocation5XXErrors", "Sum"),
    "refused": ("Invocation4XXErrors", "Sum"),
    "took": ("ModelLatency", "Average"),
    "answers": ("ModelLatency", "SampleCount"),
    "slowest": ("ModelLatency", "p99"),
}
_DAY = timedelta(days=1)
_FEWEST_PERIODS = 5


@dataclass(frozen=True)
class Seen:
    """One variant's requests since the challenger got its first."""

    requests: int
    failed: int  # 5xx
    refused: int  # 4xx
    mean_microseconds: float | None
    p99_microseconds: float | None  # of the slowest day
    means: tuple[float, ...]  # of the periods in which there were requests
    period_minutes: int = 1


def measure(connection: Connection, endpoint: str, since: datetime, now: datetime) -> tuple[Seen, Seen]:
    """The live model and the challenger. Raises ClientError."""
    period = period_of(now - since)
    queries = [
        {
            "Id": f"{metric}_{variant.lower()}",
            "MetricStat": {
                "Metric": {
                    "Namespace": "AWS/SageMaker",
                    "MetricName": name,
                    "Dimensions": dimensions(endpoint, variant),
                },
                "Period": _whole(now - since, period) if metric == "slowest" else period,
                "Stat": statistic,
            },
        }
        for variant in (names.VARIANT, CHALLENGER)
        for metric, (name, statistic) in _METRICS.items()
    ]
    found: dict[str, dict[datetime, float]] = {query["Id"]: {} for query in queries}  # type: ignore[misc]
    begin = since.replace(second=0, microsecond=0)
    pages = (
        connection.client("cloudwatch")
        .get_paginator("get_metric_data")
        .paginate(MetricDataQueries=queries, StartTime=begin, EndTime=now + timedelta(minutes=1))
    )
    for page in pages:
        for result in page["MetricDataResults"]:
            found[result["Id"]].update(zip(result["Timestamps"], result["Values"], strict=True))
    first = beginning(found[f"requests_{CHALLENGER.lower()}"], now)
    return seen(found, names.VARIANT, first, period), seen(found, CHALLENGER, first, period)


def beginning(requests: Mapping[datetime, float], now: datetime) -> datetime:
    """The first period that the challenger had its share in: in part of the very first one it did not."""
    began = sorted(at for at, count in requests.items() if count)
    return began[1] if len(began) > _FEWEST_PERIODS else min(began, default=now)


def seen(found: Mapping[str, Mapping[datetime, float]], variant: str, first: datetime, period: int) -> Seen:
    """From the values of each metric by time: what was before the challenger's first request does not count."""
    own = {metric: found[f"{metric}_{variant.lower()}"] for metric in _METRICS}
    since = {metric: {at: value for at, value in own[metric].items() if at >= first} for metric in _METRICS}
    answers = since["answers"]
    weighted = sum(value * answers.get(at, 0) for at, value in since["took"].items())
    count = sum(answers.values())
    return Seen(
        requests=round(sum(since["requests"].values())),
        failed=round(sum(since["failed"].values())),
        refused=round(sum(since["refused"].values())),
        mean_microseconds=weighted / count if count else None,
        p99_microseconds=max(own["slowest"].values(), default=None),
        means=tuple(value for at, value in since["took"].items() if answers.get(at)),
        period_minutes=period // 60,
    )


def period_of(length: timedelta) -> int:
    """Seconds. CloudWatch keeps minutes for 15 days, five minutes for 63, and hours after that; and one call brings at
    most 100,800 values (GetMetricData, CloudWatch API reference)."""
    if length <= 3 * _DAY:
        return 60
    return 300 if length <= 30 * _DAY else 3600


def _whole(length: timedelta, period: int) -> int:
    """A period for all of it, a day at most: percentiles of parts can't be put together."""
    seconds = min(length, _DAY).total_seconds()
    return max(math.ceil(seconds / period), 1) * period


# ---- in words ----


def findings(live: Seen, challenger: Seen) -> Iterator[str]:
    """A sentence each on failures, refusals and latency."""
    if not live.requests or not challenger.requests:
        yield "Not both have had requests yet, so that there is nothing to compare."
        return
    yield _rate("fails", "failed", live, challenger)
    yield _rate("refuses", "refused", live, challenger)
    yield _latency(live, challenger)


def _rate(does: str, which: str, live: Seen, challenger: Seen) -> str:
    counts = getattr(live, which), getattr(challenger, which)
    found = significance.proportions((counts[0], live.requests), (counts[1], challenger.requests))
    if not any(counts):
        most = significance.at_most(0, challenger.requests)
        return (
            f"Neither {does} a request so far. After {challenger.requests:,} of them, that the challenger {does} less "
            f"than {most * 100:.2g} % can be said at 95 % confidence."
        )
    shares = f"{counts[1] / challenger.requests * 100:.3g} % against {counts[0] / live.requests * 100:.3g} %"
    if found.significant:
        more = "more" if found.difference > 0 else "less"
        interval = f"{(found.low or 0) * 100:+.2g} to {(found.high or 0) * 100:+.2g} points"
        return f"The challenger {does} {more} often: {shares} ({interval}, 95 % interval; {_told(found)})."
    return f"Whether the challenger {does} more or less often is undecided: {shares} ({_told(found)}). " + _more(
        found, live.requests + challenger.requests, "requests"
    )


def _latency(live: Seen, challenger: Seen) -> str:
    periods = len(live.means), len(challenger.means)
    each = f"{live.period_minutes} min" if live.period_minutes > 1 else "minute"
    if min(periods) < _FEWEST_PERIODS:
        return (
            f"For latency there is too little: its means of each {each} are compared, {_FEWEST_PERIODS} of them at "
            f"least, and there are {periods[0]} and {periods[1]}."
        )
    found = significance.means(live.means, challenger.means)
    size = f"{abs(found.difference) / 1000:.3g} ms"
    if found.significant:
        slower = "slower" if found.difference > 0 else "faster"
        interval = f"{(found.low or 0) / 1000:+.3g} to {(found.high or 0) / 1000:+.3g} ms"
        return f"The challenger is {slower} by {size} on average ({interval}, 95 % interval; {_told(found)})."
    return f"Whether the challenger is slower or faster is undecided: {size} apart ({_told(found)}). " + _more(
        found, min(periods), f"times {each} with requests on both" if live.period_minutes > 1 else "minutes"
    )


def _told(found: Finding) -> str:
    if found.p_value is None:
        return found.test or "too little to test"
    return f"{found.test}, p {'< 0.001' if found.p_value < 0.001 else f'= {found.p_value:.2g}'}"


def _more(found: Finding, have: int, what: str) -> str:
    if found.needed is None:
        return "They do not differ at all so far."
    if found.needed <= have:
        return "If they differ as much as it looks, a few more should tell."
    return f"It takes about {rounded(found.needed - have):,} more {what} to see a difference of this size."


def rounded(count: int) -> int:
    """To two digits: it is an estimate."""
    step: int = 10 ** max(len(str(count)) - 2, 0)
    return -(-count // step) * step
