"""CloudWatch's numbers: what the endpoints and queues really did, aggregated here and written once per minute.

Names, units and meanings: SageMaker developer guide, "Monitor Amazon SageMaker AI with Amazon CloudWatch" (endpoint
invocation and instance metrics) and SQS developer guide, "Available CloudWatch metrics for Amazon SQS".

On the laptop a CloudWatch *minute* lasts `MINUTE_SECONDS` seconds wherever something is decided from metrics (alarms
and scaling), so that "three minutes over the target" can be watched. Datapoints carry the account's time, and what
looks back over an hour or more is read by that (`MetricStore.since`): schedules run by the account's clock, which
people move.
"""

from __future__ import annotations

import math
import re
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import takewhile
from typing import Any

from laptop.account import ACCOUNT_ID, REGION

MINUTE_SECONDS = 2.0
KEPT_MINUTES = 24 * 60
ENDPOINTS = "/aws/sagemaker/Endpoints"  # the namespace of what instances and containers use
# moto keeps every datapoint for ever; older ones than this many are dropped so that a long day stays quick
KEPT_DATAPOINTS = 50_000

# Values of a percentile are counted in classes that are 1 % wide, which is as exact as it comes out.
_CLASSES = 1 / math.log(1.01)
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?|100)")

Key = tuple[str, str, frozenset[tuple[str, str]]]  # namespace, metric name, dimensions


@dataclass
class Statistics:
    """A CloudWatch statistic set. Empty when `count` is 0."""

    count: float = 0.0
    total: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    classes: dict[int, float] = field(default_factory=dict)  # how many values are about 1.01 ** class

    def add(self, value: float) -> None:
        self._count(value, 1.0)
        self.count += 1
        self.total += value
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)

    def _count(self, value: float, times: float) -> None:
        if value > 0:
            place = round(math.log(value) * _CLASSES)
            self.classes[place] = self.classes.get(place, 0.0) + times

    def merge(self, other: Statistics) -> None:
        if other.classes:
            for place, times in other.classes.items():
                self.classes[place] = self.classes.get(place, 0.0) + times
        elif other.minimum == other.maximum:  # a set whose values are all the same
            self._count(other.maximum, other.count)
        self.count += other.count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def value(self, statistic: str) -> float:
        """One of CloudWatch's Statistic names, or a percentile such as p99.

        Of sets that somebody put without their values there are no percentiles ("Percentiles", CloudWatch user guide);
        they come out as the average.
        """
        match statistic:
            case "Sum":
                return self.total
            case "Minimum":
                return self.minimum
            case "Maximum":
                return self.maximum
            case "SampleCount":
                return self.count
            case _:
                wanted = _PERCENTILE.fullmatch(statistic)
                return self._percentile(float(wanted[1])) if wanted and self.classes else self.total / self.count

    def _percentile(self, percent: float) -> float:
        """The middle of the class in which that share of the values is reached; what is not above 0 comes first."""
        below = self.count - sum(self.classes.values())
        for place, times in sorted(self.classes.items()):
            below += times
            if below >= percent / 100 * self.count - 1e-9:
                return min(max(1.01**place, self.minimum), self.maximum)
        return self.maximum


@dataclass
class InvocationCounters:
    """What one variant's requests did since the last minute; filled on the hot path, emptied once per minute."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    invocations: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    model_us: Statistics = field(default_factory=Statistics)
    overhead_us: Statistics = field(default_factory=Statistics)

    def record(self, status: int, model_seconds: float, overhead_seconds: float) -> None:
        """One request: the container's HTTP status, and the time spent in it and around it."""
        with self.lock:
            self.invocations += 1
            self.errors_4xx += 400 <= status < 500
            self.errors_5xx += status >= 500
            self.model_us.add(model_seconds * 1e6)
            self.overhead_us.add(overhead_seconds * 1e6)

    def add(self, other: InvocationCounters) -> None:
        """What another counted, which nobody else fills any more."""
        with self.lock:
            self.invocations += other.invocations
            self.errors_4xx += other.errors_4xx
            self.errors_5xx += other.errors_5xx
            self.model_us.merge(other.model_us)
            self.overhead_us.merge(other.overhead_us)

    def take(self) -> InvocationCounters:
        """What was counted; counting starts again at nothing."""
        with self.lock:
            taken = InvocationCounters(
                invocations=self.invocations,
                errors_4xx=self.errors_4xx,
                errors_5xx=self.errors_5xx,
                model_us=self.model_us,
                overhead_us=self.overhead_us,
            )
            self.invocations = self.errors_4xx = self.errors_5xx = 0
            self.model_us, self.overhead_us = Statistics(), Statistics()
            return taken


@dataclass
class ServerlessCounters:
    """What one serverless variant's containers did since the last minute."""

    setup_us: Statistics = field(default_factory=Statistics)  # of each cold start
    memory_percent: Statistics = field(default_factory=Statistics)  # of the variant's memory, after each request
    concurrency: Statistics = field(default_factory=Statistics)  # of MaxConcurrency, 0 to 1, at each request


@dataclass
class AsyncCounters:
    """What an asynchronous endpoint's requests did in one variant since the last minute."""

    download_failures: int = 0
    upload_failures: int = 0
    notification_failures: int = 0
    expired: int = 0
    failures: int = 0
    processed: int = 0
    download_us: Statistics = field(default_factory=Statistics)
    upload_us: Statistics = field(default_factory=Statistics)
    backlog_us: Statistics = field(default_factory=Statistics)
    total_ms: Statistics = field(default_factory=Statistics)


def key(namespace: str, name: str, dimensions: Iterable[tuple[str, str]]) -> Key:
    return namespace, name, frozenset(dimensions)


class MetricStore:
    """Writes datapoints into CloudWatch, and reads all of CloudWatch's new datapoints minute by minute.

    Datapoints put by anybody (a Lambda function's PutMetricData too) are seen, because moto's list is the source.
    """

    def __init__(self) -> None:
        _give_percentiles()
        self._next = 0
        self._minutes: dict[Key, deque[tuple[int, Statistics]]] = {}
        # The same by the account's clock: minutes since 1970. A minute of it holds thirty of the others.
        self._clock_minutes: dict[Key, deque[tuple[int, Statistics]]] = {}
        self.minute = 0

    @staticmethod
    def _backend() -> Any:
        from moto.cloudwatch.models import cloudwatch_backends

        return cloudwatch_backends[ACCOUNT_ID][REGION]

    def put(
        self,
        namespace: str,
        name: str,
        dimensions: dict[str, str],
        statistics: Statistics,
        *,
        unit: str,
        at: datetime,
    ) -> None:
        """Writes one statistic set, as PutMetricData with StatisticValues would. An empty set is not written."""
        from moto.cloudwatch.models import MetricAggregatedDatum

        if statistics.count:
            datum: Any = MetricAggregatedDatum(
                namespace,
                name,
                statistics.minimum,
                statistics.maximum,
                statistics.count,
                statistics.total,
                [{"Name": key, "Value": value} for key, value in dimensions.items()],
                at.astimezone(UTC).replace(tzinfo=None),  # moto compares naive UTC times
                unit,
            )
            datum.classes = statistics.classes
            self._backend().metric_data.append(datum)

    def advance(self) -> None:
        """Ends a minute: whatever was put since the last call belongs to it."""
        data = self._backend().metric_data
        if self._next > len(data):
            self._next = 0
        new = data[self._next :]
        self._next += len(new)
        self.minute += 1
        for datum in new:
            where = key(datum.namespace, datum.name, ((d.name, d.value) for d in datum.dimensions))
            one = _of(datum)
            _merge_into(self._minutes, where, self.minute, one)
            _merge_into(self._clock_minutes, where, _clock_minute(datum.timestamp), one)
        if len(data) > KEPT_DATAPOINTS:
            removed = len(data) - KEPT_DATAPOINTS
            del data[:removed]
            self._next -= removed

    def keys(self) -> Iterator[Key]:
        """Every metric that has a datapoint."""
        return iter(list(self._minutes))

    def periods(self, where: Key, minutes_each: int, count: int) -> list[Statistics | None]:
        """The newest `count` periods of `minutes_each` minutes, newest first; None where there is no datapoint."""
        begin = self.minute - minutes_each * count
        newest = takewhile(lambda one: one[0] > begin, reversed(self._minutes.get(where, ())))
        return _gathered(newest, self.minute, minutes_each, count)

    def since(self, where: Key, minutes_each: int, count: int, now: datetime) -> list[Statistics | None]:
        """Like `periods`, by the time that the datapoints carry: the periods that end with the minute of `now`."""
        return _gathered(self._clock_minutes.get(where, ()), _clock_minute(now), minutes_each, count)


def _of(datum: Any) -> Statistics:
    """One of moto's data: a value, or a set of them."""
    one = Statistics()
    if hasattr(datum, "sample_count"):
        classes = getattr(datum, "classes", {})
        one.merge(Statistics(datum.sample_count, datum.sum, datum.min, datum.max, classes))
    else:
        one.add(datum.value)
    return one


def _give_percentiles() -> None:
    """moto answers GetMetricData with no value for a percentile, and then fails at writing that."""
    from moto.cloudwatch import models

    if hasattr(models.Statistics, "without_percentiles"):
        return
    usual = models.Statistics.get_statistics_for_type

    def get_statistics_for_type(self: Any, stat: str) -> Any:
        if not _PERCENTILE.fullmatch(stat):
            return usual(self, stat)
        whole = Statistics()
        for datum in self.metric_data:
            whole.merge(_of(datum))
        return whole.value(stat) if whole.count else None

    given: Any = models.Statistics
    given.without_percentiles, given.get_statistics_for_type = usual, get_statistics_for_type


def _clock_minute(moment: datetime) -> int:
    """moto's times are naive, and UTC."""
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 60)


def _merge_into(into: dict[Key, deque[tuple[int, Statistics]]], where: Key, minute: int, one: Statistics) -> None:
    minutes = into.setdefault(where, deque(maxlen=KEPT_MINUTES))
    if not minutes or minutes[-1][0] != minute:
        minutes.append((minute, Statistics()))
    minutes[-1][1].merge(one)


def _gathered(
    minutes: Iterable[tuple[int, Statistics]], now: int, minutes_each: int, count: int
) -> list[Statistics | None]:
    found: list[Statistics | None] = [None] * count
    for minute, statistics in minutes:
        index = (now - minute) // minutes_each
        if 0 <= index < count:
            period = found[index]
            if period is None:
                period = found[index] = Statistics()
            period.merge(statistics)
    return found


def merged(parts: Iterable[InvocationCounters]) -> InvocationCounters:
    """What several fleets of a variant did together."""
    whole = InvocationCounters()
    for one in parts:
        whole.add(one)
    return whole


def put_invocations(
    store: MetricStore, dimensions: dict[str, str], counters: InvocationCounters, *, instances: int, at: datetime
) -> None:
    """A real-time variant's minute. With no request at all, Invocations and InvocationsPerInstance are written as zero:
    SageMaker does so to let an idle variant scale in (developer guide, "Edit a scaling policy", its current text)."""
    n = counters.invocations
    zero = Statistics(1, 0.0, 0.0, 0.0)
    each = 1.0 / max(instances, 1)
    requests = Statistics(n, n, 1.0, 1.0) if n else zero
    per_instance = Statistics(n, n * each, each, each) if n else zero
    store.put("AWS/SageMaker", "Invocations", dimensions, requests, unit="None", at=at)
    store.put("AWS/SageMaker", "InvocationsPerInstance", dimensions, per_instance, unit="None", at=at)
    # How many requests a model has at a time, on the average of the minute: the time that they took, over the minute's
    # (Little's law). On AWS a sample every ten seconds.
    concurrent = counters.model_us.total / (MINUTE_SECONDS * 1e6) * each
    store.put(
        "AWS/SageMaker",
        "ConcurrentRequestsPerModel",
        dimensions,
        Statistics(1, concurrent, concurrent, concurrent),
        unit="None",
        at=at,
    )
    store.put("AWS/SageMaker", "OverheadLatency", dimensions, counters.overhead_us, unit="Microseconds", at=at)
    put_answers(store, dimensions, counters, at)


def put_answers(store: MetricStore, dimensions: dict[str, str], counters: InvocationCounters, at: datetime) -> None:
    """How the model answered, which is the same for all kinds of hosting."""
    n = counters.invocations

    def rate(errors: int) -> Statistics:
        # "Average: the rate of errors": one datapoint of 0 or 1 per request
        return Statistics(n, errors, 1.0 if errors == n else 0.0, 1.0 if errors else 0.0)

    for name, statistics, unit in (
        ("ModelLatency", counters.model_us, "Microseconds"),
        ("Invocation4XXErrors", rate(counters.errors_4xx), "None"),
        ("Invocation5XXErrors", rate(counters.errors_5xx), "None"),
    ):
        store.put("AWS/SageMaker", name, dimensions, statistics, unit=unit, at=at)


def put_plain_invocations(
    store: MetricStore, dimensions: dict[str, str], counters: InvocationCounters, at: datetime
) -> None:
    """A minute of what has no instances of its own to share the requests among; nothing if there was no request."""
    n = counters.invocations
    requests = Statistics(n, n, 1.0, 1.0) if n else Statistics()
    store.put("AWS/SageMaker", "Invocations", dimensions, requests, unit="None", at=at)
    store.put("AWS/SageMaker", "OverheadLatency", dimensions, counters.overhead_us, unit="Microseconds", at=at)
    put_answers(store, dimensions, counters, at)


def put_component(
    store: MetricStore,
    dimensions: dict[str, str],
    counters: InvocationCounters,
    *,
    copies: int,
    without_capacity: int,
    at: datetime,
) -> None:
    """An inference component's minute ("SageMaker inference component metrics"). With copies and no request, zeros are
    written as for a variant; a component without copies has nothing but the requests that failed for that."""
    failed = Statistics(without_capacity, without_capacity, 1.0, 1.0) if without_capacity else Statistics()
    store.put("AWS/SageMaker", "NoCapacityInvocationFailures", dimensions, failed, unit="None", at=at)
    n, each = counters.invocations, 1.0 / max(copies, 1)
    if n or copies:
        zero = Statistics(1, 0.0, 0.0, 0.0)
        requests = Statistics(n, n, 1.0, 1.0) if n else zero
        per_copy = Statistics(n, n * each, each, each) if n else zero
        store.put("AWS/SageMaker", "Invocations", dimensions, requests, unit="None", at=at)
        store.put("AWS/SageMaker", "InvocationsPerCopy", dimensions, per_copy, unit="None", at=at)
    store.put("AWS/SageMaker", "OverheadLatency", dimensions, counters.overhead_us, unit="Microseconds", at=at)
    put_answers(store, dimensions, counters, at)


def put_reserved(
    store: MetricStore,
    dimensions: dict[str, str],
    usage: Iterable[tuple[float, float]],
    *,
    cpus: float | None,
    memory_mb: int,
    at: datetime,
) -> None:
    """Of each copy, CPU (100 per busy core) and MB, as shares of what it reserves: 0 to 100. Without a reservation of
    CPUs, of one core."""
    cpu, memory = Statistics(), Statistics()
    for busy, used_mb in usage:
        cpu.add(min(busy / (cpus or 1.0), 100.0))
        memory.add(min(100 * used_mb / memory_mb, 100.0))
    where = "/aws/sagemaker/InferenceComponents"
    store.put(where, "CPUUtilizationNormalized", dimensions, cpu, unit="Percent", at=at)
    store.put(where, "MemoryUtilizationNormalized", dimensions, memory, unit="Percent", at=at)


def put_asynchronous(store: MetricStore, dimensions: dict[str, str], counters: AsyncCounters, at: datetime) -> None:
    """An asynchronous variant's minute ("Alarms and logs for tracking metrics from asynchronous endpoints"). What is
    only counted has no datapoint while there is nothing to count."""
    for name, count in (
        ("RequestDownloadFailures", counters.download_failures),
        ("ResponseUploadFailures", counters.upload_failures),
        ("NotificationFailures", counters.notification_failures),
        ("ExpiredRequests", counters.expired),
        ("InvocationFailures", counters.failures),
        ("InvocationsProcessed", counters.processed),
    ):
        statistics = Statistics(count, count, 1.0, 1.0) if count else Statistics()
        store.put("AWS/SageMaker", name, dimensions, statistics, unit="Count", at=at)
    for name, statistics, unit in (
        ("RequestDownloadLatency", counters.download_us, "Microseconds"),
        ("ResponseUploadLatency", counters.upload_us, "Microseconds"),
        ("TimeInBacklog", counters.backlog_us, "Microseconds"),
        ("TotalProcessingTime", counters.total_ms, "Milliseconds"),
    ):
        store.put("AWS/SageMaker", name, dimensions, statistics, unit=unit, at=at)


def put_backlog(
    store: MetricStore, endpoint: str, *, backlog: int, oldest_seconds: float, instances: int, at: datetime
) -> None:
    """An asynchronous endpoint's queue. HasBacklogWithoutCapacity is 1 while requests wait and no instance runs;
    without instances there is no ApproximateBacklogSizePerInstance."""
    dimensions = {"EndpointName": endpoint}
    values = {
        "ApproximateBacklogSize": (float(backlog), "Count"),
        "ApproximateAgeOfOldestRequest": (oldest_seconds, "Seconds"),
        "HasBacklogWithoutCapacity": (float(backlog > 0 and instances == 0), "Count"),
    }
    if instances:
        values["ApproximateBacklogSizePerInstance"] = (backlog / instances, "Count")
    for name, (value, unit) in values.items():
        store.put("AWS/SageMaker", name, dimensions, Statistics(1, value, value, value), unit=unit, at=at)


def put_serverless(store: MetricStore, dimensions: dict[str, str], counters: ServerlessCounters, at: datetime) -> None:
    """What a serverless variant has beside its invocations (developer guide, "Alarms and logs for tracking metrics from
    serverless endpoints"): one datapoint per cold start, and one per request."""
    for namespace, name, statistics, unit in (
        ("AWS/SageMaker", "ModelSetupTime", counters.setup_us, "Microseconds"),
        ("AWS/SageMaker", "ServerlessConcurrentExecutionsUtilization", counters.concurrency, "None"),
        (ENDPOINTS, "MemoryUtilization", counters.memory_percent, "Percent"),
    ):
        store.put(namespace, name, dimensions, statistics, unit=unit, at=at)


def put_utilization(
    store: MetricStore, endpoint: str, variant: str, usage: Iterable[tuple[float, float]], at: datetime
) -> None:
    """CPU (100 per busy core) and memory (of the machine) in percent: one datapoint per instance."""
    cpu, memory = Statistics(), Statistics()
    for cpu_percent, memory_percent in usage:
        cpu.add(cpu_percent)
        memory.add(memory_percent)
    dimensions = {"EndpointName": endpoint, "VariantName": variant}
    store.put(ENDPOINTS, "CPUUtilization", dimensions, cpu, unit="Percent", at=at)
    store.put(ENDPOINTS, "MemoryUtilization", dimensions, memory, unit="Percent", at=at)


def put_queues(store: MetricStore, at: datetime) -> None:
    """AWS/SQS depth of each queue, dead-letter queues included."""
    from moto.sqs.models import sqs_backends

    for queue in list(sqs_backends[ACCOUNT_ID][REGION].queues.values()):
        for name, value in (
            ("ApproximateNumberOfMessagesVisible", queue.approximate_number_of_messages),
            ("ApproximateNumberOfMessagesNotVisible", queue.approximate_number_of_messages_not_visible),
        ):
            store.put(
                "AWS/SQS", name, {"QueueName": queue.name}, Statistics(1, value, value, value), unit="Count", at=at
            )
