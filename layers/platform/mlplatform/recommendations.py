"""What would make the bill smaller: facts about an account in, recommendations in dollars per month out. Pure.

Every figure is a list price times something that was counted; where something had to be assumed, the evidence says so
and the confidence is lower. Nothing here knows what follows: recommendations about one thing (its `subject`) are
alternatives, so a total counts only the best of each; see `total`.

Where the constants come from:

- What spot saves: AWS's Spot Advisor showed a median of 66 % for us-east-1, public logs of managed spot jobs a median
  of 68 %; two thirds are assumed until this account's own spot jobs say better.
- What a spot job loses without checkpoints: replaying such jobs on public availability traces, with and without
  30-minute checkpoints, cost 0.62 against 0.60 of the on-demand price for jobs of minutes, 0.44 against 0.37 for an
  hour, 0.54 against 0.35 for four hours.
- What serverless inference and scaling to zero cost: hosting.py, which says where its figures come from.
- SageMaker savings plans: "20 to 65 %", of which the low end is counted.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any

from mlplatform import instances
from mlplatform.dollars import CENT, money
from mlplatform.errors import UnknownPrice
from mlplatform.facts import STACK_TAG, HostingKind
from mlplatform.hosting import (
    DAYS_PER_MONTH,
    USUAL_MODEL_SECONDS,
    Option,
    PriceList,
    Promise,
    Workload,
    flat_rate,
    memory_need_gb,
    plan_hosting,
)
from mlplatform.names import HOURS_TAG
from mlplatform.opening_hours import is_prod
from mlplatform.prices import HOURS_PER_MONTH, HOURS_PER_WEEK, SECONDS_PER_HOUR
from mlplatform.records import dataclass
from mlplatform.words import counted

_GB = Decimal(10**9)

IDLE_DAYS = 7
_OLD_SNAPSHOT = timedelta(days=180)
_RETENTION_DAYS = 7
_SPOT_SAVES = Decimal("0.66")
_MEASURED_JOBS = 3  # that many of the account's own spot jobs are worth more than a published figure
# Hours of training -> what checkpoints save, as a share of the on-demand price; the longest that is reached counts.
_CHECKPOINTS_SAVE = ((Decimal(4), Decimal("0.19")), (Decimal(1), Decimal("0.07")), (Decimal(0), Decimal("0.02")))
_WORTH_ERRORS = Decimal("0.1")  # of the cost: what scaling to zero must save for its errors while it wakes
_SMALLER_IF_CPU_BELOW = Decimal(35)  # half the size then peaks at 70 %, the platform's own scaling target
_SMALLER_IF_MEMORY_BELOW = Decimal(40)
_SAVINGS_PLAN_SAVES = Decimal("0.20")


class Confidence(StrEnum):
    """How far the dollars can be trusted."""

    HIGH = "high"  # counted, and at list price
    MEDIUM = "medium"  # counted, with one assumption that the evidence names
    LOW = "low"  # an upper bound, or resting on published figures


# ---- facts ----


@dataclass(frozen=True)
class JobUse:
    """A training job that ended in the window."""

    name: str
    instance_type: str
    instance_count: int
    spot: bool
    checkpoints: bool
    training_seconds: int
    billable_seconds: int


@dataclass(frozen=True)
class EndpointUse:
    """An endpoint and what it did in the window. A metric is None where CloudWatch has none."""

    name: str
    arn: str
    created: datetime
    instance_type: str | None  # None: serverless
    instance_count: int
    variants: int
    tags: Mapping[str, str]
    hours_per_week: Decimal  # how long its office hours let it run; 168 where they do not apply
    observed_days: Decimal = Decimal(0)  # the window, or the endpoint's age if that is shorter
    idle_days: int = 0  # whole days without an invocation, up to now
    invocations: int | None = None
    latency_seconds: Decimal | None = None  # the model's, on average
    cpu_peak_percent: Decimal | None = None  # of all its cores
    memory_peak_percent: Decimal | None = None
    kind: HostingKind = HostingKind.REAL_TIME


@dataclass(frozen=True)
class AlarmUse:
    """An alarm about an endpoint that is not there."""

    name: str
    endpoint: str
    period_seconds: int


@dataclass(frozen=True)
class BucketUse:
    """A bucket of the account. Sizes are in GiB, as S3 bills them."""

    name: str
    lifecycle: bool
    standard_gb: Decimal | None  # in the class Standard now; None where CloudWatch does not know
    standard_gb_month_ago: Decimal | None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LogGroupUse:
    name: str
    created: datetime
    stored_bytes: int
    retention_days: int | None  # None: for ever


@dataclass(frozen=True)
class NatUse:
    """A NAT gateway. What it processed is in GB of 10^9 bytes, in either direction."""

    id: str
    vpc: str
    gb: Decimal | None  # processed in the window
    s3_gateway_endpoint: bool  # whether its VPC has one


@dataclass(frozen=True)
class ClusterUse:
    name: str
    extended_support: bool
    node_groups: int


@dataclass(frozen=True)
class VolumeUse:
    """A volume that nothing has attached; its size is in GiB, as EC2 tells it."""

    id: str
    kind: str  # gp3, gp2, ...
    gb: int
    created: datetime


@dataclass(frozen=True)
class SnapshotUse:
    """A snapshot; its size, in GiB, is that of its volume."""

    id: str
    gb: int
    created: datetime


@dataclass(frozen=True)
class AdviceFacts:
    """What list calls tell of an account. `missing` has a sentence for each part that could not be read."""

    stack: str
    region: str
    now: datetime
    window_days: int
    office_hours: str  # the stack's, as a tag spells them
    office_hours_per_week: Decimal
    jobs: tuple[JobUse, ...] = ()
    endpoints: tuple[EndpointUse, ...] = ()
    asleep: frozenset[str] = frozenset()  # endpoints that office hours have parked: they are not listed, but come back
    alarms: tuple[AlarmUse, ...] = ()  # but those that govern_resources deletes
    buckets: tuple[BucketUse, ...] = ()
    log_groups: tuple[LogGroupUse, ...] = ()
    nat_gateways: tuple[NatUse, ...] = ()
    clusters: tuple[ClusterUse, ...] = ()
    volumes: tuple[VolumeUse, ...] = ()  # those that nothing has attached
    snapshots: tuple[SnapshotUse, ...] = ()
    savings_plan_usd_per_hour: Decimal | None = None  # SageMaker commitments; None where unknown
    missing: tuple[str, ...] = ()

    @property
    def not_looked_at(self) -> tuple[str, ...]:
        """All that nothing is advised about: what could not be read, and what sleeps."""
        sleepers = f"{_names(sorted(self.asleep))}, which mlp costs advice looks at while they run"
        return (*self.missing, *([f"what sleeps ({sleepers})"] if self.asleep else []))


# ---- recommendations ----


@dataclass(frozen=True)
class Call:
    """One AWS call, the operation spelled as in Python."""

    service: str
    operation: str
    request: Mapping[str, Any]

    def __str__(self) -> str:
        words = " ".join(
            f"--{_dashed(name)} {value if isinstance(value, str | int) else _shell(json.dumps(value))}"
            for name, value in self.request.items()
        )
        service = {"s3": "s3api"}.get(self.service, self.service)
        return f"aws {service} {self.operation.replace('_', '-')} {words}"


@dataclass(frozen=True)
class Recommendation:
    """One thing to do. `number` is its place in the list, which `mlp costs apply` takes; `key` stays the same."""

    number: int
    title: str
    evidence: str
    usd_per_month: Decimal
    confidence: Confidence
    how: str
    calls: tuple[Call, ...] = ()  # what the platform can do itself, in this order
    subject: str = ""  # what it is about; of recommendations with one subject, one can be followed

    @property
    def appliable(self) -> bool:
        return bool(self.calls)

    @property
    def key(self) -> str:
        """Six hexadecimal digits that stay the same while the recommendation does, whatever its number becomes."""
        return hashlib.sha256(f"{self.title}\0{[str(call) for call in self.calls]}".encode()).hexdigest()[:6]


def recommend(facts: AdviceFacts, prices: PriceList) -> tuple[Recommendation, ...]:
    """All that applies, the largest saving first, numbered from 1. A type without a price is named, never left out."""
    rules: tuple[Callable[[AdviceFacts, PriceList], Iterator[Recommendation]], ...] = (
        _on_demand_jobs,
        _spot_without_checkpoints,
        _endpoints,
        _savings_plan,
        _buckets,
        _log_groups,
        _nat_gateways,
        _clusters,
        _volumes,
        _snapshots,
        _orphaned_alarms,
    )
    found = [one for rule in rules for one in rule(facts, prices)]
    # Python's sort is stable: rules that save the same stay in the order above.
    found.sort(key=lambda one: -one.usd_per_month)
    return tuple(replace(one, number=number) for number, one in enumerate(found, start=1))


def total(recommendations: Iterable[Recommendation]) -> Decimal:
    """US dollars a month if everything were done: of alternatives about one thing, the best."""
    best: dict[str, Decimal] = {}
    for one in recommendations:
        subject = one.subject or one.key
        best[subject] = max(best.get(subject, Decimal(0)), one.usd_per_month)
    return sum(best.values(), Decimal(0))


# ---- training ----


def _on_demand_jobs(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    by_type: dict[str, list[JobUse]] = defaultdict(list)
    for job in facts.jobs:
        if not job.spot and job.billable_seconds:
            by_type[job.instance_type].append(job)
    saves, known, confidence = _spot_saving(facts.jobs)
    for kind, jobs in sorted(by_type.items()):
        hours = _job_hours(jobs)
        try:
            spent = hours * prices.usd_per_hour(kind, "training", facts.region)
        except UnknownPrice as error:
            yield _unpriced(f"Training on {kind}", error)
            continue
        yield _advice(
            f"Train on spot: {counted(len(jobs), 'job')} on {kind} ran on demand",
            f"{_names(job.name for job in jobs)}: {hours:.2f} instance hours in {facts.window_days} days for "
            f"{money(spent)}; {known}.",
            spent * _per_month(facts) * saves,
            confidence,
            "Set EnableManagedSpotTraining, MaxWaitTimeInSeconds of at least MaxRuntimeInSeconds, and a "
            "CheckpointConfig in CreateTrainingJob; jobs that start from a drop have them already.",
        )


def _spot_saving(jobs: Iterable[JobUse]) -> tuple[Decimal, str, Confidence]:
    ran = [job for job in jobs if job.spot and job.training_seconds]
    if len(ran) < _MEASURED_JOBS:
        return _SPOT_SAVES, "spot saves two thirds as published", Confidence.MEDIUM
    trained = sum(job.training_seconds * job.instance_count for job in ran)
    billed = sum(job.billable_seconds * job.instance_count for job in ran)
    share = max(Decimal(0), 1 - Decimal(billed) / Decimal(trained))
    return share, f"spot saved {share:.0%} over this account's own {len(ran)} spot jobs", Confidence.HIGH


def _spot_without_checkpoints(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    jobs = [job for job in facts.jobs if job.spot and not job.checkpoints and job.training_seconds]
    if not jobs:
        return
    saved = Decimal(0)
    for job in jobs:
        hours = Decimal(job.training_seconds) / SECONDS_PER_HOUR
        share = next(share for reached, share in _CHECKPOINTS_SAVE if hours >= reached)
        try:
            price = prices.usd_per_hour(job.instance_type, "training", facts.region)
        except UnknownPrice as error:
            yield _unpriced(f"Training job {job.name}", error)
            continue
        saved += hours * job.instance_count * price * share
    longest = max(jobs, key=lambda job: job.training_seconds)
    yield _advice(
        f"Keep checkpoints: {counted(len(jobs), 'spot job')} would start over when interrupted",
        f"{_names(job.name for job in jobs)} had no CheckpointConfig; the longest trained "
        f"{longest.training_seconds / 3600:.1f} hours. Interruptions at the rate of public traces are assumed.",
        saved * _per_month(facts),
        Confidence.LOW,
        "Give CreateTrainingJob a CheckpointConfig with an S3Uri of its own, and resume from /opt/ml/checkpoints.",
    )


# ---- endpoints ----


def _endpoints(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    for endpoint in facts.endpoints:
        if endpoint.instance_type is None or endpoint.kind is not HostingKind.REAL_TIME:
            continue  # what costs nothing while nobody asks is neither idle nor too large
        try:
            hour = prices.usd_per_hour(endpoint.instance_type, "hosting", facts.region) * endpoint.instance_count
            yield from _endpoint(facts, prices, endpoint, hour)
        except UnknownPrice as error:
            yield _unpriced(f"Endpoint {endpoint.name}", error)


def _endpoint(
    facts: AdviceFacts, prices: PriceList, endpoint: EndpointUse, usd_per_hour: Decimal
) -> Iterator[Recommendation]:
    cost = usd_per_hour * HOURS_PER_MONTH * endpoint.hours_per_week / HOURS_PER_WEEK
    runs = f"{endpoint.instance_count} x {endpoint.instance_type} at {money(cost)} a month"
    idle = endpoint.idle_days >= IDLE_DAYS
    if idle:
        yield _advice(
            f"Delete the idle endpoint {endpoint.name}",
            f"No invocation in {endpoint.idle_days} days; {runs}.",
            cost,
            Confidence.HIGH,
            f"aws sagemaker delete-endpoint --endpoint-name {endpoint.name} (its config and model stay, and cost "
            "nothing: CreateEndpoint with the config brings it back)",
            subject=endpoint.arn,
        )
    else:
        yield from _low_traffic(facts, prices, endpoint, cost, runs)
        yield from _oversize(facts, prices, endpoint, cost, runs)
    yield from _always_on(facts, endpoint, cost, runs)
    if _is_burstable(endpoint.instance_type or ""):
        yield _advice(
            f"Leave the burstable type of endpoint {endpoint.name}",
            f"{runs}. Burstable instances cannot be auto-scaled, and slow down when their CPU credits are used up.",
            Decimal(0),
            Confidence.HIGH,
            "Host on ml.c5.large or larger, or on serverless inference; this is about answers, not dollars.",
            subject=endpoint.arn,
        )


def _how_to_move(facts: AdviceFacts, endpoint: EndpointUse, option: Option) -> str:
    """The command, for an endpoint that the platform made."""
    if endpoint.tags.get(STACK_TAG) != facts.stack:
        return ""
    memory = f" --memory-gb {option.gb}" if option.gb else ""
    return (
        f"mlp hosting {endpoint.name} --move-to {option.kind.value}{memory} (docs/hosting.md says what callers see "
        "meanwhile)"
    )


def _low_traffic(
    facts: AdviceFacts, prices: PriceList, endpoint: EndpointUse, cost: Decimal, runs: str
) -> Iterator[Recommendation]:
    """What hosting.py would choose where a first request may wait, and nobody has to call in another way."""
    if not endpoint.invocations or endpoint.observed_days < 1 or endpoint.variants > 1:
        return  # serverless serves one variant only ("Deploy models with Serverless Inference", developer guide)
    daily, latency, kind = (
        endpoint.invocations / endpoint.observed_days,
        endpoint.latency_seconds,
        endpoint.instance_type,
    )
    choice = plan_hosting(
        Workload(
            region=facts.region,
            instance_type=kind or "",
            requests_per_hour=flat_rate(daily, endpoint.hours_per_week),
            model_seconds=USUAL_MODEL_SECONDS if latency is None else latency,
            hours_per_week=endpoint.hours_per_week,
            min_instances=endpoint.instance_count,
            memory_gb=memory_need_gb(instances.memory_gib(kind or ""), endpoint.memory_peak_percent),
            not_serverless="it needs a GPU" if instances.is_gpu(kind or "") else "",
        ),
        Promise(first_seconds=Decimal("Infinity")),
        prices,
    )
    option = choice.chosen
    if option is None or option.kind is HostingKind.REAL_TIME:
        return
    saves = cost - option.usd_per_month
    if option.kind is HostingKind.SERVERLESS:
        yield _advice(
            f"Serve {endpoint.name} serverless",
            f"{daily:,.0f} requests a day; {runs}. Serverless with {option.gb} GB and "
            f"{option.latency_seconds * 1000:.0f} ms a request would cost {money(option.usd_per_month)}; it breaks "
            f"even at {choice.break_even_requests_per_day:,.0f} requests a day. The first request after a pause takes "
            "seconds.",
            saves,
            Confidence.MEDIUM if latency is not None else Confidence.LOW,
            _how_to_move(facts, endpoint, option)
            or f"Deploy its model to a new endpoint with ServerlessConfig {{MemorySizeInMB: {(option.gb or 0) * 1024}, "
            f"MaxConcurrency: 5}}, move the callers, then delete {endpoint.name}: a real-time endpoint cannot be "
            "updated to a serverless one. docs/hosting.md compares the kinds of hosting.",
            subject=endpoint.arn,
        )
    elif saves >= cost * _WORTH_ERRORS:
        yield _advice(
            f"Let endpoint {endpoint.name} scale to zero",
            f"{daily / 24:.1f} requests an hour; {runs}. About {option.hours_share:.0%} of the hours would still be "
            f"paid for, and requests fail for {option.failing_minutes_per_month:,.0f} minutes a month while it wakes. "
            "Above 5 requests an hour nothing is gained.",
            saves,
            Confidence.LOW,
            _how_to_move(facts, endpoint, option)
            or "Host the model as an inference component with ManagedInstanceScaling.MinInstanceCount 0, and a step "
            "scaling policy on NoCapacityInvocationFailures.",
            subject=endpoint.arn,
        )


def _oversize(
    facts: AdviceFacts, prices: PriceList, endpoint: EndpointUse, cost: Decimal, runs: str
) -> Iterator[Recommendation]:
    cpu, memory, kind = endpoint.cpu_peak_percent, endpoint.memory_peak_percent, endpoint.instance_type or ""
    smaller = _half(kind)
    if cpu is None or memory is None or endpoint.observed_days < IDLE_DAYS or smaller is None:
        return
    if cpu >= _SMALLER_IF_CPU_BELOW or memory >= _SMALLER_IF_MEMORY_BELOW:
        return
    now, then = (prices.usd_per_hour(one, "hosting", facts.region) for one in (kind, smaller))
    yield _advice(
        f"Host {endpoint.name} on {smaller} instead of {kind}",
        f"CPU peaked at {cpu:.0f} % and memory at {memory:.0f} % in {facts.window_days} days; {runs}. Half the machine "
        "would peak at twice that.",
        cost * (1 - then / now),
        Confidence.MEDIUM,
        f'Put "hosting": {{"instance_type": "{smaller}"}} into job.json, or deploy with HostingInstanceType={smaller}.',
        subject=endpoint.arn,
    )


def _always_on(facts: AdviceFacts, endpoint: EndpointUse, cost: Decimal, runs: str) -> Iterator[Recommendation]:
    if endpoint.hours_per_week < HOURS_PER_WEEK or facts.office_hours_per_week >= HOURS_PER_WEEK:
        return
    if is_prod(endpoint.tags, "prod"):
        return  # one that does not say is taken for one: nobody is advised to switch production off
    ours = endpoint.tags.get(STACK_TAG) == facts.stack
    off = 1 - facts.office_hours_per_week / HOURS_PER_WEEK
    yield _advice(
        f"Let endpoint {endpoint.name} sleep outside office hours",
        f"Environment {endpoint.tags['Environment']}, on all week; {runs}. With {facts.office_hours} it runs "
        f"{facts.office_hours_per_week:g} of 168 hours a week; requests in the other hours would be refused.",
        cost * off,
        Confidence.HIGH,
        f"Tag it {HOURS_TAG}={facts.office_hours}; it is stopped and brought back by itself then.",
        (
            Call(
                "sagemaker",
                "add_tags",
                {"ResourceArn": endpoint.arn, "Tags": [{"Key": HOURS_TAG, "Value": facts.office_hours}]},
            ),
        )
        if ours
        else (),
        subject=endpoint.arn,
    )


def _savings_plan(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    if facts.savings_plan_usd_per_hour is None:
        return
    steady, counted = Decimal(0), []
    for endpoint in facts.endpoints:
        # A plan is paid for whether the instance runs or not: what may sleep, or is idle, is not to be committed.
        asleep = endpoint.hours_per_week < HOURS_PER_WEEK or endpoint.idle_days >= IDLE_DAYS
        if endpoint.instance_type is None or asleep or not is_prod(endpoint.tags, "prod"):
            continue
        try:
            hour = prices.usd_per_hour(endpoint.instance_type, "hosting", facts.region)
        except UnknownPrice:
            continue  # _endpoints has named it
        steady += hour * endpoint.instance_count
        counted.append(endpoint.name)
    open_usd = steady - facts.savings_plan_usd_per_hour / (1 - _SAVINGS_PLAN_SAVES)
    if open_usd <= 0:
        return
    commit = open_usd * (1 - _SAVINGS_PLAN_SAVES)
    yield _advice(
        "Commit to a SageMaker savings plan for what always runs",
        f"{_names(counted)} run all week for {money(steady, places=4)} an hour; plans in force commit to "
        f"{money(facts.savings_plan_usd_per_hour, places=4)}. At the low end of published discounts, "
        f"{_SAVINGS_PLAN_SAVES:.0%}, a plan pays only while more than {1 - _SAVINGS_PLAN_SAVES:.0%} of the committed "
        "hours are used, for one or three years.",
        open_usd * _SAVINGS_PLAN_SAVES * HOURS_PER_MONTH,
        Confidence.LOW,
        f"Buy a SageMaker savings plan of {money(commit, places=4)} an hour in the console, under Cost Management.",
    )


# ---- storage and logs ----


def _buckets(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    standard, colder = (prices.usd(f"s3.gb_month.{kind}", facts.region) for kind in ("standard", "standard_ia"))
    for bucket in facts.buckets:
        if bucket.lifecycle:
            continue
        known = bucket.standard_gb is not None and bucket.standard_gb_month_ago is not None
        # What was there a month ago and is still there now has not been deleted since: it is at least that old.
        old = min(bucket.standard_gb or Decimal(0), bucket.standard_gb_month_ago or Decimal(0))
        ours = bucket.tags.get("aws:cloudformation:stack-name") == facts.stack
        call = Call("s3", "put_bucket_lifecycle_configuration", _lifecycle(bucket.name))
        yield _advice(
            f"Give bucket {bucket.name} a lifecycle",
            f"{old:,.1f} of {bucket.standard_gb or 0:,.1f} GB are older than 30 days, at {money(standard, places=4)} a "
            f"GB instead of {money(colder, places=4)}; unfinished uploads are kept for ever. Reading the colder class "
            "costs extra."
            if known
            else "It has no lifecycle rule, so nothing gets cheaper with age and unfinished uploads are kept for ever. "
            "CloudWatch does not know its size yet.",
            old * (standard - colder),
            Confidence.MEDIUM if known else Confidence.LOW,
            "Move objects to Standard-IA after 30 days and to Glacier Instant Retrieval after 90; nothing is deleted."
            + ("" if ours else f" {call}"),
            (call,) if ours else (),
        )


def _lifecycle(bucket: str) -> dict[str, Any]:
    return {
        "Bucket": bucket,
        "LifecycleConfiguration": {
            "Rules": [
                {
                    "ID": "colder-with-age",
                    "Status": "Enabled",
                    "Filter": {"Prefix": ""},
                    "Transitions": [
                        {"Days": 30, "StorageClass": "STANDARD_IA"},
                        {"Days": 90, "StorageClass": "GLACIER_IR"},
                    ],
                    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
                }
            ]
        },
    }


def _log_groups(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    """Groups that this stack writes are set together; all others are one piece of advice each."""
    gb_month = prices.usd("logs.gb_month", facts.region)
    ours: list[tuple[LogGroupUse, Decimal]] = []
    prefixes = tuple(
        f"/aws/{what}/{facts.stack}-" for what in ("lambda", "sagemaker/Endpoints", "sagemaker/InferenceComponents")
    )
    for group in facts.log_groups:
        if group.retention_days is not None:
            continue
        age = Decimal((facts.now - group.created).total_seconds()) / 86400
        # Written at an even rate, the share that is older than the retention is what would go.
        goes = max(Decimal(0), 1 - _RETENTION_DAYS / age) if age > 0 else Decimal(0)
        usd = group.stored_bytes / _GB * goes * gb_month
        if group.name.startswith(prefixes):
            ours.append((group, usd))
            continue
        yield _advice(
            f"Let the log group {group.name} forget",
            f"{group.stored_bytes / _GB:.3f} GB are kept for ever; at an even rate {goes:.0%} is older than "
            f"{_RETENTION_DAYS} days.",
            usd,
            Confidence.MEDIUM,
            f"aws logs put-retention-policy --log-group-name {group.name} --retention-in-days {_RETENTION_DAYS}",
        )
    if ours:
        yield _advice(
            f"Let {counted(len(ours), 'log group')} of this stack forget after {_RETENTION_DAYS} days",
            f"{_names(group.name for group, _ in ours)}: "
            f"{sum(group.stored_bytes for group, _ in ours) / _GB:.3f} GB are kept for ever.",
            sum((usd for _, usd in ours), Decimal(0)),
            Confidence.MEDIUM,
            f"Set their retention to {_RETENTION_DAYS} days, as the stack's own groups have.",
            tuple(
                Call("logs", "put_retention_policy", {"logGroupName": group.name, "retentionInDays": _RETENTION_DAYS})
                for group, _ in ours
            ),
        )


# ---- beside the platform ----


def _nat_gateways(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    month = prices.usd("nat_gateway.hour", facts.region) * HOURS_PER_MONTH
    for nat in facts.nat_gateways:
        if nat.gb == 0:
            yield _advice(
                f"Delete the unused NAT gateway {nat.id}",
                f"Not a byte in {facts.window_days} days, in {nat.vpc}; {money(month)} a month.",
                month,
                Confidence.HIGH,
                f"aws ec2 delete-nat-gateway --nat-gateway-id {nat.id} (then release its address)",
            )
        elif not nat.s3_gateway_endpoint:
            gb = (nat.gb or Decimal(0)) * _per_month(facts)
            yield _advice(
                f"Take S3 traffic off the NAT gateway {nat.id}",
                f"{nat.vpc} has no S3 gateway endpoint, which is free, so what goes to S3 is charged as NAT data: "
                f"{gb:,.1f} GB a month at most.",
                gb * prices.usd("nat_gateway.gb", facts.region),
                Confidence.LOW,
                f"aws ec2 create-vpc-endpoint --vpc-id {nat.vpc} --service-name com.amazonaws.{facts.region}.s3 "
                "--route-table-ids YOUR_ROUTE_TABLES",
                subject=f"nat-data {nat.vpc} {nat.id}",
            )


def _clusters(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    standard = prices.usd("eks.cluster_hour", facts.region) * HOURS_PER_MONTH
    extended = prices.usd("eks.cluster_hour.extended", facts.region) * HOURS_PER_MONTH
    for cluster in facts.clusters:
        month = extended if cluster.extended_support else standard
        subject = f"eks {cluster.name}"
        if cluster.extended_support:
            yield _advice(
                f"Upgrade the EKS cluster {cluster.name} out of extended support",
                f"Its control plane costs {money(extended)} a month instead of {money(standard)}.",
                extended - standard,
                Confidence.HIGH,
                f"aws eks update-cluster-version --name {cluster.name} --kubernetes-version NEXT_VERSION",
                subject=subject,
            )
        yield _advice(
            f"Delete the EKS cluster {cluster.name}"
            if cluster.node_groups == 0
            else f"Move what runs on the EKS cluster {cluster.name} to ECS",
            f"Its control plane costs {money(month)} a month with {counted(cluster.node_groups, 'node group')}; ECS "
            "has no charge for its own.",
            month,
            Confidence.MEDIUM if cluster.node_groups == 0 else Confidence.LOW,
            f"aws eks delete-cluster --name {cluster.name}, after looking for Fargate profiles and nodes of its own"
            if cluster.node_groups == 0
            else "Worth it where nothing needs Kubernetes itself.",
            subject=subject,
        )


def _volumes(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    for volume in facts.volumes:
        try:
            usd = volume.gb * prices.usd(f"ebs.gb_month.{volume.kind}", facts.region)
        except UnknownPrice as error:
            yield _unpriced(f"Volume {volume.id}", error)
            continue
        yield _advice(
            f"Delete the unattached volume {volume.id}",
            f"{volume.gb} GB of {volume.kind} since {volume.created:%Y-%m-%d}, attached to nothing.",
            usd,
            Confidence.HIGH,
            f"aws ec2 delete-volume --volume-id {volume.id} (aws ec2 create-snapshot --volume-id {volume.id} first, "
            "where its content may be wanted)",
        )


def _snapshots(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    old = [one for one in facts.snapshots if facts.now - one.created > _OLD_SNAPSHOT]
    if not old:
        return
    gb = sum(one.gb for one in old)
    yield _advice(
        f"Look through {counted(len(old), 'snapshot')} older than {_OLD_SNAPSHOT.days} days",
        f"{_names(one.id for one in old)}: {gb} GB of volumes; a snapshot stores what differs from the one before, so "
        "this is the most they can cost.",
        gb * prices.usd("ebs.snapshot_gb_month", facts.region),
        Confidence.LOW,
        "aws ec2 delete-snapshot --snapshot-id SNAPSHOT, for those that no AMI needs",
    )


# ---- leftovers ----


def _orphaned_alarms(facts: AdviceFacts, prices: PriceList) -> Iterator[Recommendation]:
    """Those that people or other programs made; what of the stack's own is left over, governance.py deletes."""
    there = {endpoint.name for endpoint in facts.endpoints} | facts.asleep
    alarms = [alarm for alarm in facts.alarms if alarm.endpoint not in there]
    if alarms:
        # CloudWatch pricing: an alarm with a period under a minute is a high-resolution one
        usd = sum(
            (
                prices.usd(
                    f"cloudwatch.alarm_month{'.high_resolution' if one.period_seconds < 60 else ''}", facts.region
                )
                for one in alarms
            ),
            Decimal(0),
        )
        calls = tuple(
            str(Call("cloudwatch", "delete_alarms", {"AlarmNames": [one.name for one in alarms[start : start + 100]]}))
            for start in range(0, len(alarms), 100)  # DeleteAlarms takes 100 names
        )
        yield _advice(
            f"Delete {counted(len(alarms), 'alarm')} of endpoints that are gone",
            f"{_names(one.name for one in alarms)}: there is no {_names(sorted({one.endpoint for one in alarms}))}.",
            usd,
            Confidence.HIGH,
            "; ".join(calls),
        )


# ---- words and numbers ----


def _advice(
    title: str,
    evidence: str,
    usd: Decimal,
    confidence: Confidence,
    how: str,
    calls: tuple[Call, ...] = (),
    subject: str = "",
) -> Recommendation:
    return Recommendation(
        0, title, evidence, usd.quantize(CENT, ROUND_HALF_UP), confidence, how, calls, subject or title
    )


def _unpriced(what: str, error: UnknownPrice) -> Recommendation:
    return _advice(
        f"{what} cannot be judged: its price is unknown", str(error), Decimal(0), Confidence.LOW, "make prices"
    )


def _job_hours(jobs: Iterable[JobUse]) -> Decimal:
    return sum((Decimal(job.billable_seconds) * job.instance_count for job in jobs), Decimal(0)) / SECONDS_PER_HOUR


def _per_month(facts: AdviceFacts) -> Decimal:
    """From the window to a month of 730 hours."""
    return DAYS_PER_MONTH / facts.window_days


def _names(names: Iterable[str]) -> str:
    """Three of them, and how many more."""
    every = list(names)
    more = f" and {len(every) - 3} more" if len(every) > 3 else ""
    return f"{', '.join(every[:3])}{more}"


def _half(instance_type: str) -> str | None:
    """The next smaller size that SageMaker hosts on, which has half the cores and memory; None where there is none."""
    family, _, size = instance_type.rpartition(".")
    sizes = ("large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge")
    if size not in sizes[1:]:
        return None
    smaller = f"{family}.{sizes[sizes.index(size) - 1]}"
    return smaller if smaller in instances.HOSTING else None


def _is_burstable(instance_type: str) -> bool:
    return instance_type.split(".")[1][:1] == "t"


def _dashed(name: str) -> str:
    """A member's name as the AWS command line spells it."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("-")


def _shell(text: str) -> str:
    return f"'{text}'"
