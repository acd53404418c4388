"""Whether the account may have what a decision asks for: SageMaker's quotas, each by its name.

Every use of every instance type has a quota of its own ("Amazon SageMaker AI endpoints and quotas", AWS General
Reference): `ml.m5.xlarge for spot training job usage`, `ml.c5.large for endpoint usage`. Serverless endpoints have two
for all of them together: how many there may be, and what their MaxConcurrency may come to, which is 10 in new accounts
(repost.aws question QUY0gXNLrdTH6eqqA4hv5FeA; quota L-96300102, by which SageMaker was seen to refuse an update). What
is asked for beyond one is refused with ResourceLimitExceeded, which names the quota too; but by then a model is half
deployed. What else the account runs counts as well, and is not looked up.

A quota that the account does not tell is no quota of 0: "If the applied quota value is not available for a quota, the
quota is not retrieved" (ListServiceQuotas, Service Quotas API reference). Nothing is refused because of one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from mlplatform import capacity, instances, names, prices
from mlplatform.decisions import AskApproval, DeployModel, HoldDataset, StartPipeline, StartTuning
from mlplatform.errors import UnknownPrice
from mlplatform.facts import Endpoint, HostingKind
from mlplatform.kinds import Hosting, in_place, instance_bounds, kind_of
from mlplatform.records import dataclass
from mlplatform.settings import Settings
from mlplatform.waiting import ASK_FOR_MORE, QUOTA, Launch, asked, held

if TYPE_CHECKING:
    from mlplatform.deployment import Live

Quotas = Mapping[str, float]  # by name, as far as the account tells them
_USES: Mapping[str, prices.Use] = {
    "spot training job": "training",
    "processing job": "processing",
    "endpoint": "hosting",
}
SERVERLESS_ENDPOINTS = "Maximum number of serverless endpoints"
SERVERLESS_CONCURRENCY = "Maximum total concurrency that can be allocated across all serverless endpoints"
_MOST_NAMED = 3
_STAND_IN = "a move with a stand-in"


@dataclass(frozen=True)
class Need:
    """How much of a quota something takes at a time."""

    quota: str  # its name
    count: int
    why: str  # a clause: what needs them


@dataclass(frozen=True)
class Instances(Need):
    """The same of the quota for a use of an instance type."""

    instance_type: str
    use: str  # of _USES


def instances_needed(instance_type: str, use: str, count: int, why: str) -> Instances:
    return Instances(quota_name(instance_type, use), count, why, instance_type, use)


def quota_name(instance_type: str, use: str) -> str:
    """`use` as AWS writes it: training job, spot training job, processing job, endpoint."""
    return f"{instance_type} for {use} usage"


def short(need: Need, quotas: Quotas) -> str | None:
    """A clause that says by how much a quota is too small; None where it is enough, or not told."""
    value = quotas.get(need.quota)
    if value is None or value >= need.count:
        return None
    return f'the account\'s quota "{need.quota}" is {value:g}, and {need.why} needs {need.count}'


def lacking(needs: Iterable[Need], quotas: Quotas) -> str:
    """The clauses of what there is too little of, as one; empty where there is enough of everything."""
    return " and ".join(said for need in needs if (said := short(need, quotas)) is not None)


def launch_needs(decision: Launch) -> tuple[Instances, ...]:
    """What a launch wants of the account; a tuning, all the trials that it runs at a time."""
    use = "spot training job"
    if isinstance(decision, StartPipeline):
        values = {one["Name"]: one["Value"] for one in decision.request["PipelineParameters"]}
        wanted = (("TrainingInstanceType", use, "its training"), ("ProcessingInstanceType", "processing job", "it"))
        return tuple(instances_needed(values[name], kind, 1, why) for name, kind, why in wanted if name in values)
    if isinstance(decision, StartTuning):
        at_once = decision.request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxParallelTrainingJobs"]
        resources = decision.request["TrainingJobDefinition"]["ResourceConfig"]
        count = at_once * resources["InstanceCount"]
        return (instances_needed(resources["InstanceType"], use, count, f"a tuning with {at_once} trials at a time"),)
    resources = decision.request["ResourceConfig"]
    return (instances_needed(resources["InstanceType"], use, resources["InstanceCount"], "the training"),)


def hold_launch(decision: Launch, quotas: Quotas, settings: Settings) -> HoldDataset | None:
    """What a good drop comes to where the account may not have its machines; None where it may."""
    short_of = [need for need in launch_needs(decision) if short(need, quotas) is not None]
    if not short_of:
        return None
    need = short_of[0]
    key = "instance_type" if need.use == "spot training job" else "pipeline.ProcessingInstanceType"
    fewer = ", a smaller tuning.max_parallel_jobs" if isinstance(decision, StartTuning) and need.count > 1 else ""
    said = lacking(short_of, quotas)
    other = f"or set another {key}{fewer} in job.json{_allowed(need, quotas, settings)}"
    return held(decision, f": {said}. {ASK_FOR_MORE}, {other}", QUOTA)


def fit_deployment(
    decision: DeployModel, live: Live | None, quotas: Quotas, settings: Settings
) -> DeployModel | AskApproval:
    """A deployment that the account has the instances for, or else a model that waits for them.

    Where types of the same size have a quota for a whole fleet, they take the wanted one's place where SageMaker has no
    machine of that: for real-time and asynchronous endpoints. Components may have them too ("Deploy to multiple
    instance types with instance pools", SageMaker developer guide), but have not: their config is the same for all
    models, so that it would keep the types that the quotas allowed with the first one.
    """
    variants = decision.endpoint_config["ProductionVariants"]
    if len(variants) != 1:
        return decision
    variant = variants[0]
    if "ServerlessConfig" in variant:
        return _fit_serverless(decision, variant["ServerlessConfig"]["MaxConcurrency"], quotas)
    wanted, fewest = variant["InstanceType"], variant["InitialInstanceCount"]
    running = live.endpoint if live is not None and decision.exists else None
    kind = kind_of(decision.endpoint_config)
    fleet, beside = _fleets(decision, running, kind, wanted, fewest)
    why = _STAND_IN if decision.move else "an update with both fleets" if beside else "the endpoint"
    need = instances_needed(wanted, "endpoint", fleet + beside, _side_by_side(why, beside))
    said = short(need, quotas)
    if said is not None:
        other = "or set another hosting.instance_type in job.json and drop the data again"
        return asked(
            decision,
            f"{said}; ask for more in the Service Quotas console, under Amazon SageMaker, "
            f"and approve it then, {other}{_allowed(need, quotas, settings)}",
            QUOTA,
        )
    _, most = instance_bounds(_wishes(decision), settings, kind)
    value = quotas.get(need.quota)
    reason = decision.reason
    if value is not None and value < most:
        reason += f" It can't grow to {most} instances: the account's quota \"{need.quota}\" is {value:g}."
    instead = [
        one
        for one in capacity.same_size(wanted, "hosting", settings.aws_region)
        if quotas.get(quota_name(one, "endpoint"), 0) >= fleet
    ]
    if not instead or kind is HostingKind.SCALE_TO_ZERO:
        return replace(decision, reason=reason)
    config = {**decision.endpoint_config, "ProductionVariants": [capacity.pooled(variant, instead)]}
    return replace(decision, reason=reason, endpoint_config=config)


def _fit_serverless(decision: DeployModel, concurrency: int, quotas: Quotas) -> DeployModel | AskApproval:
    """Whether an update has both models' concurrency at a time AWS does not say; it is taken once."""
    needs = _serverless(2, concurrency, _STAND_IN) if decision.move else _serverless(1, concurrency, "the endpoint")
    said = lacking(needs, quotas)
    if not said:
        return decision
    return asked(
        decision,
        f"{said}; ask for more in the Service Quotas console, under Amazon SageMaker, and approve it then, or set "
        "another hosting.kind or a smaller hosting.max_concurrency in job.json and drop the data again",
        QUOTA,
    )


def _serverless(endpoints: int, concurrency: int, why: str) -> tuple[Need, ...]:
    return Need(SERVERLESS_ENDPOINTS, endpoints, why), Need(SERVERLESS_CONCURRENCY, endpoints * concurrency, why)


def move_needs(endpoint: Endpoint, wanted: Hosting) -> tuple[Need, ...]:
    """What a running endpoint takes to become another kind: by a stand-in, unless AWS changes it in place."""
    if wanted.kind is HostingKind.SERVERLESS:
        return _serverless(2, wanted.max_concurrency, _STAND_IN)
    fewest = max(wanted.fewest, 1)
    if in_place(endpoint.kind, wanted.kind):
        return (instances_needed(wanted.instance_type, "endpoint", fewest, "the endpoint"),)
    beside = _beside_a_stand_in(endpoint, wanted.instance_type, fewest)
    return (instances_needed(wanted.instance_type, "endpoint", fewest + beside, _side_by_side(_STAND_IN, beside)),)


def _side_by_side(why: str, beside: int) -> str:
    return f"{why} side by side" if beside else why


def _beside_a_stand_in(running: Endpoint | None, instance_type: str, fewest: int) -> int:
    """Instances of the same type: those of the old endpoint, and then those of the new one."""
    same = running is not None and running.instance_type == instance_type
    return max(running.instance_count or 0 if running is not None and same else 0, fewest)


def _fleets(
    decision: DeployModel, running: Endpoint | None, kind: HostingKind, wanted: str, fewest: int
) -> tuple[int, int]:
    """How many instances a deployment starts or keeps, and how many of the same type stand beside them meanwhile.

    A fleet that is updated stands beside the old one until the new one is proven ("Blue/Green Deployments", SageMaker
    developer guide), so that an update needs both at a time: as many as before where the variants' properties are
    retained, which is in real time, else as many as the config begins with. A stand-in stands beside the old endpoint,
    and then beside the new one. What scales to zero gets another model on the instances that it has: one more is taken
    where there is one (kinds.instances_at_most), and nobody has measured that it must be.
    """
    there = running.instance_count or 0 if running else 0
    if decision.move is not None:
        return fewest, _beside_a_stand_in(running, wanted, fewest)
    if running is None or kind is HostingKind.SCALE_TO_ZERO:
        return max(fewest, there), 0
    beside = there if running.instance_type == wanted else 0
    return (max(fewest, there) if kind is HostingKind.REAL_TIME else fewest), beside


def _wishes(decision: DeployModel) -> dict[str, str]:
    return names.hosting_wishes(dict(decision.endpoint_tags))


def _allowed(need: Instances, quotas: Quotas, settings: Settings) -> str:
    """The types nearest in size that the account has enough of, as a clause; nothing where it has none."""
    use = _USES[need.use]
    size = instances.vcpus(need.instance_type)
    found = []
    for one in _known(use):
        value = quotas.get(quota_name(one, need.use), 0)
        if value < need.count or instances.is_gpu(one) != instances.is_gpu(need.instance_type):
            continue
        try:
            price = prices.usd_per_hour(one, use, settings.aws_region)
        except UnknownPrice:
            continue
        found.append((abs(instances.vcpus(one) - size), price, one, value))
    named = ", ".join(f"{one} ({value:g})" for _, _, one, value in sorted(found)[:_MOST_NAMED])
    return f" (it may have {named})" if named else ""


def _known(use: prices.Use) -> Collection[str]:
    return instances.HOSTING if use == "hosting" else instances.TRAINING
