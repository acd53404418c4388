"""A/B tests: a second model, the challenger, beside the live one on its endpoint, with a share of the traffic.

The steps are those that SageMaker allows. An update that changes an endpoint's variants moves all traffic at once and
is watched by nobody (deployment.change_of_variants), so that the challenger comes in with weight 0. Requests reach it
only when configure-autoscaling has asked it, by TargetVariant, for the prediction that its training wrote down, and has
set up its scaling and alarms; then UpdateEndpointWeightsAndCapacities gives it its share, which starts nothing anew.

What is to run is in the endpoint's tag names.CHALLENGER_TAG, and compared with what does run whenever the endpoint has
come into service (level, not edge): a busy endpoint begins its test when it is free, and what failed is told. A
release, whoever asked for it, ends the test: the challenger leaves first, then the new model comes in by a watched
update. So does a promotion, which is an approval of the challenger's package and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from typing import Any

from mlplatform import names, registry
from mlplatform.decisions import (
    ConfigureAutoscaling,
    EndAbTest,
    FinishDeployment,
    Notify,
    Refuse,
    Request,
    ShareTraffic,
    Skip,
    StartAbTest,
)
from mlplatform.deployment import Way, change_of_variants, model_request, without_challenger
from mlplatform.facts import (
    CHALLENGER,
    DATASET_TAG,
    AbTestAsked,
    Approval,
    Endpoint,
    HostingKind,
    ModelCard,
    ModelPackage,
    Prediction,
    Serving,
    UnreadableCard,
)
from mlplatform.model_cost import hosting_cost
from mlplatform.quotas import Need, Quotas, instances_needed, lacking
from mlplatform.records import dataclass
from mlplatform.restoring import same_weight
from mlplatform.settings import Settings
from mlplatform.waiting import ASK_FOR_MORE
from mlplatform.words import sentence

Configured = Skip | Notify | ConfigureAutoscaling
MOST_SHARE = (
    0.5  # half of the requests tells two models apart the quickest; more would make the challenger the live one
)


@dataclass(frozen=True)
class AbTest:
    """What an endpoint's tag says is to run."""

    model: str
    version: int
    weight: float
    since: str  # as ISO 8601 has it


@dataclass(frozen=True)
class Place:
    """What there is at the moment a person asks for an A/B test."""

    now: datetime
    serving: Serving | None  # the dataset's
    variant: Request = field(default_factory=dict)  # of its config: the live model's
    quotas: Quotas = field(default_factory=dict)


def wanted_test(tags: Mapping[str, str]) -> AbTest | None:
    """From an endpoint's tags; None where no test is to run, or where the tag is none that the platform wrote."""
    said = names.challenger_wishes(tags)
    try:
        return AbTest(said["model"], int(said["version"]), float(said["weight"]), said["since"])
    except (KeyError, ValueError):
        return None


def as_challenger(endpoint: Endpoint) -> Endpoint | None:
    """The endpoint as its challenger has it; None where no A/B test runs."""
    one = endpoint.challenger
    if one is None:
        return None
    return replace(
        endpoint,
        variant_name=one.name,
        model_name=one.model_name,
        instance_type=one.instance_type,
        instance_count=one.instance_count,
        artifact_uri=None,
    )


def for_challenger(decision: Configured) -> Configured:
    """The same for a challenger: the bounds that an endpoint's tag remembers are the live model's."""
    return replace(decision, endpoint_tags={}) if isinstance(decision, ConfigureAutoscaling) else decision


# ---- what a person asks for ----


def plan_ab_test(
    asked: AbTestAsked,
    place: Place,
    package: ModelPackage | None,
    card: ModelCard | UnreadableCard | None,
    settings: Settings,
) -> Refuse | Skip | StartAbTest | ShareTraffic | EndAbTest:
    """`package` and its `card` are the challenger's, where one is to come."""
    serving, dataset = place.serving, asked.dataset
    bad = bad_share(asked.weight) if asked.action != "drop" else None
    if bad is not None:
        return Refuse(bad)
    if serving is None:
        return Refuse(f"{dataset} has no endpoint that a challenger could come to. Its models: mlp models {dataset}.")
    if serving.parked is not None:
        return Refuse(f"The endpoint of {dataset} is asleep. To wake it: mlp snooze {dataset} --hours 2.")
    if serving.standing_in:
        return Refuse(_on_its_way(dataset))
    endpoint = serving.endpoint
    if endpoint.dead or endpoint.status == "Deleting":
        return Refuse(f"The endpoint of {dataset} is {endpoint.status}; what is wrong: mlp doctor.")
    running = wanted_test(endpoint.tags)
    if asked.action == "drop":
        return _drop(endpoint, running, dataset)
    if asked.action == "weigh":
        return _weigh(asked, endpoint, running, settings)
    return _start(asked, place, endpoint, running, package, card, settings)


def _start(
    asked: AbTestAsked,
    place: Place,
    endpoint: Endpoint,
    running: AbTest | None,
    package: ModelPackage | None,
    card: ModelCard | UnreadableCard | None,
    settings: Settings,
) -> Refuse | Skip | StartAbTest:
    dataset = asked.dataset
    name = registry.spoken(asked.package, settings.stack_name)
    if package is None:
        return Refuse(f"There is no model {name}. Those that there are: mlp models {dataset}.")
    if package.group != endpoint.name:
        return Refuse(f"{name} is no model of {dataset}. Those that there are: mlp models {dataset}.")
    if endpoint.kind is not HostingKind.REAL_TIME or endpoint.instance_type is None:
        return Refuse(f"The endpoint of {dataset} is {endpoint.kind.value}, and only a real-time one has two models.")
    if endpoint.tags.get(names.LOOK_TAG):
        return Refuse(_on_its_way(dataset))
    wanted = endpoint.tags.get(names.WANTED_TAG, endpoint.model_name)
    if endpoint.busy and wanted != endpoint.model_name:
        return Refuse(
            f"The endpoint of {dataset} is {endpoint.status}, on its way to {wanted}; which model a challenger stands "
            "beside is known when that is over. Ask again then."
        )
    model = registry.model_name(package)
    if model == endpoint.model_name:
        return Refuse(f"{name} is the live model itself.")
    if running is not None:
        again = running.model == model and same_weight(running.weight, asked.weight)
        if again and (endpoint.challenger is not None or endpoint.busy):
            return Skip(f"{name} is the challenger already, with {_percent(asked.weight)} of the traffic.")
        if not again:
            return Refuse(
                f"An A/B test of {dataset}/{running.version} runs already. To change its share: mlp ab {dataset} "
                f"--weight {asked.weight:g}; to end it: mlp ab {dataset} --drop, or --promote."
            )
    if endpoint.challenger is not None:
        return Refuse(f"The last A/B test of {dataset} is still ending. Ask again when the endpoint is InService.")
    if package.approval is Approval.REJECTED or not _fit(package):
        return Refuse(
            f"{name} gets no traffic: it is {package.approval.value}, and a challenger is a model that passed its gate "
            f"and is Approved, or waits for that. {sentence(package.approval_description or package.description)}"
        )
    if not isinstance(card, ModelCard):
        wrong = card.explanation if card else f"there is nothing at {package.artifact_uri}"
        return Refuse(f"{name} can't be used: {wrong}.")
    decision = _started(asked, place, endpoint, package, card, settings)
    said = lacking(_needs(decision, endpoint), place.quotas)
    if said:
        return Refuse(f"{name} can't come: {said}. {ASK_FOR_MORE}.")
    return decision


def _on_its_way(dataset: str) -> str:
    return f"The endpoint of {dataset} is on its way to another kind of hosting. Ask again when it is there."


def _needs(decision: StartAbTest, endpoint: Endpoint) -> list[Need]:
    """The instances that the update takes at a time: both new fleets beside the old one."""
    live, challenger = decision.endpoint_config["ProductionVariants"]
    counts = {endpoint.instance_type or "": 2 * (endpoint.instance_count or live["InitialInstanceCount"])}
    kind = challenger["InstanceType"]
    counts[kind] = counts.get(kind, 0) + challenger["InitialInstanceCount"]
    return [instances_needed(one, "endpoint", count, "an update to both models") for one, count in counts.items()]


def _fit(package: ModelPackage) -> bool:
    return registry.passed_gate(package) or "forced_by" in package.properties


def _started(
    asked: AbTestAsked,
    place: Place,
    endpoint: Endpoint,
    package: ModelPackage,
    card: ModelCard,
    settings: Settings,
) -> StartAbTest:
    from mlplatform.releases import packaged  # who begins a test pays for it, not who goes on with one

    name = registry.spoken(package.arn, settings.stack_name)
    model = packaged(package, asked.dataset)
    live = endpoint.model_name or ""
    wishes = names.hosting_wishes({names.HOSTING_TAG: model.hosting})
    instance_type = wishes.get("instance_type", settings.hosting_instance_type)
    count = instances_for(asked.weight, endpoint.instance_count, 1, settings.max_instances)
    config = names.ab_config(endpoint.name, live, model.name)
    tags = names.tags(settings.required_tags, stack=settings.stack_name, dataset=asked.dataset)
    test = names.challenger_tag(model.name, package.version, asked.weight, place.now.isoformat(timespec="seconds"))
    cost = hosting_cost(instance_type, count, endpoint.tags, settings)
    price = cost.formula if cost.usd_per_month is None else f"{cost.usd_per_month} USD a month"
    waits = f" The endpoint is {endpoint.status}; it begins when that is over." if endpoint.busy else ""
    return StartAbTest(
        reason=(
            f"{name} comes beside {live} on {endpoint.name}, on {count} x {instance_type} ({price}), and gets "
            f"{_percent(asked.weight)} of the traffic once it answers as in training.{waits}"
        ),
        dataset=asked.dataset,
        job_name=model.name,
        card=card,
        model=model_request(model, settings),
        endpoint_config={
            "EndpointConfigName": config,
            "ProductionVariants": [
                # As it is: a variant that is registered for scaling must not change its types.
                {**place.variant, "VariantName": names.VARIANT, "InitialVariantWeight": 1.0},
                {
                    "VariantName": CHALLENGER,
                    "ModelName": model.name,
                    "InstanceType": instance_type,
                    "InitialInstanceCount": count,
                    "InitialVariantWeight": 0.0,
                },
            ],
            "Tags": names.tag_list(tags),
        },
        endpoint=change_of_variants(endpoint.name, config),
        # What an update that failed had wanted is not tried again.
        endpoint_tags=test | {names.WANTED_TAG: live},
    )


def _weigh(
    asked: AbTestAsked, endpoint: Endpoint, running: AbTest | None, settings: Settings
) -> Refuse | Skip | ShareTraffic:
    dataset = asked.dataset
    if running is None:
        return Refuse(f"No A/B test runs on {dataset}. To start one: mlp ab {dataset} VERSION --weight 0.1.")
    name = f"{dataset}/{running.version}"
    proven = endpoint.challenger is not None and bool(endpoint.challenger.weight) and not endpoint.busy
    if same_weight(running.weight, asked.weight) and (not proven or same_weight(share_of(endpoint), asked.weight)):
        return Skip(f"{name} is to get {_percent(asked.weight)} of the traffic already.")
    tags = names.challenger_tag(running.model, running.version, asked.weight, running.since)
    when = "" if proven else f" The endpoint is {endpoint.status}; it follows when its challenger serves."
    return ShareTraffic(
        f"{name} gets {_percent(asked.weight)} of the traffic of {endpoint.name}, where it got "
        f"{_percent(running.weight)}.{when}",
        endpoint.name,
        _next_capacity(endpoint, asked.weight, settings) if proven else None,
        tags,
    )


def _drop(endpoint: Endpoint, running: AbTest | None, dataset: str) -> Refuse | EndAbTest:
    if running is None and endpoint.challenger is None:
        return Refuse(f"No A/B test runs on {dataset}.")
    name = f"{dataset}/{running.version}" if running else (endpoint.challenger or endpoint).model_name
    when = f" The endpoint is {endpoint.status}; it goes when that is over." if endpoint.busy else ""
    return _end(
        f"{name} leaves {endpoint.name}, and {endpoint.model_name} serves alone.{when}",
        endpoint,
        without_challenger(endpoint) if endpoint.challenger else None,
    )


def _end(reason: str, endpoint: Endpoint, way: Way | None, *, good: bool = True) -> EndAbTest:
    """`way` is None where the challenger is not there."""
    live = endpoint.model_name or ""
    return EndAbTest(
        reason,
        endpoint.name,
        way.endpoint if way else None,
        live,
        way.deregister if way else None,
        # What could not come can be asked for again.
        {names.CHALLENGER_TAG: ""} if way or good else {names.CHALLENGER_TAG: "", names.ASKED_TAG: live},
        good,
    )


# ---- what an endpoint in service needs ----


def plan_variants(endpoint: Endpoint, settings: Settings) -> FinishDeployment | EndAbTest | Notify | None:
    """For an endpoint in service that check_endpoint let through; None where its variants are as they should be.

    That an update was asked for and is not there, in an endpoint in service, means that it failed.
    """
    test, there = wanted_test(endpoint.tags), endpoint.challenger
    if endpoint.config_name is None or names.running_config(endpoint, settings.stack_name) is None:
        return None  # somebody else's config, with variants of their own
    asked = endpoint.tags.get(names.ASKED_TAG)
    dataset = endpoint.tags.get(DATASET_TAG, endpoint.name)
    said = endpoint.failure_reason or "SageMaker gave no reason."
    if test is None:
        if there is None:
            return None
        if endpoint.failure_reason and asked == endpoint.model_name:
            once = f"{endpoint.config_name}{names.attempt(endpoint.tags)}"
            return Notify(
                f"The A/B test of {endpoint.name} was to end, but that failed: {said} Both models go on serving. To "
                f"try again: mlp ab {dataset} --drop",
                f"The A/B test of {endpoint.name} could not be ended",
                names.notice_key(endpoint.name, once, "ab-end"),
            )
        return _finish(
            f"{endpoint.name} was busy when its A/B test was to end and is in service now; the challenger goes.",
            without_challenger(endpoint),
        )
    if there is not None and there.model_name == test.model:
        return None
    config = names.ab_config(endpoint.name, endpoint.model_name or "", test.model)
    if asked == config:
        return _end(
            f"{dataset}/{test.version} could not come to {endpoint.name} as a challenger: {said} "
            f"{endpoint.model_name} serves as before. Its log: mlp logs {dataset}.",
            endpoint,
            None,
            good=False,
        )
    return _finish(
        f"{endpoint.name} was busy when {dataset}/{test.version} was to come as a challenger and is in service now; it "
        "comes.",
        Way(change_of_variants(endpoint.name, config), config),
    )


def _finish(reason: str, way: Way) -> FinishDeployment:
    return FinishDeployment(reason, way.endpoint, way.model, way.deregister, alarms=way.alarms)


def plan_share(endpoint: Endpoint, prediction: Prediction, settings: Settings) -> ShareTraffic | EndAbTest | None:
    """What a challenger in service needs to get its share; None where it has it. `prediction` is the challenger's.

    A challenger that answers wrongly before it got any traffic gets none.
    """
    test, there = wanted_test(endpoint.tags), endpoint.challenger
    if test is None or there is None or same_weight(share_of(endpoint), test.weight):
        return None
    dataset = endpoint.tags.get(DATASET_TAG, endpoint.name)
    if not prediction.correct and not there.weight:
        return _end(
            f"{dataset}/{test.version} answers otherwise than it did in training, so that it gets no traffic and "
            f"leaves {endpoint.name}: {prediction.explanation}. {endpoint.model_name} serves alone.",
            endpoint,
            without_challenger(endpoint),
            good=False,
        )
    return ShareTraffic(
        f"{dataset}/{test.version} answers as expected, and gets {_percent(test.weight)} of the traffic of "
        f"{endpoint.name}. How it does: mlp ab {dataset}",
        endpoint.name,
        _next_capacity(endpoint, test.weight, settings),
    )


def share_of(endpoint: Endpoint) -> float:
    """The challenger's share of the traffic now, 0 to 1."""
    weights = [one.weight or 0.0 for one in endpoint.variants]
    mine = endpoint.challenger.weight if endpoint.challenger else None
    return (mine or 0.0) / sum(weights) if sum(weights) else 0.0


def bad_share(weight: float) -> str | None:
    """What is wrong with a challenger's weight, a sentence; None where it is a share that one can have."""
    if 0 < weight <= MOST_SHARE:  # which no NaN is
        return None
    return (
        f"A challenger's weight is its share of the traffic: more than 0 and at most {MOST_SHARE:g}, such as 0.1; "
        f"{weight:g} is not."
    )


def instances_for(share: float, live_instances: int | None, fewest: int, most: int) -> int:
    """So many that each instance of the challenger has as much to do as one of the live model's."""
    return min(max(math.ceil((live_instances or 1) * share / (1 - share) - 1e-9), fewest), max(most, fewest))


def _next_capacity(endpoint: Endpoint, share: float, settings: Settings) -> Request:
    """UpdateEndpointWeightsAndCapacities: first the instances for a larger share, then the share.

    A call changes "variant weight of one or more variants", or "capacity of one variant" (SageMaker API reference).
    Where instances could not be had, scaling will see to it.
    """
    there = endpoint.challenger
    assert there is not None
    have = there.instance_count or 1
    need = instances_for(share, endpoint.instance_count, 1, settings.max_instances)
    if need > have and share > share_of(endpoint) and not endpoint.failure_reason:
        changed: list[dict[str, Any]] = [{"VariantName": CHALLENGER, "DesiredInstanceCount": need}]
    else:
        changed = [
            {"VariantName": names.VARIANT, "DesiredWeight": round(1 - share, 6)},
            {"VariantName": CHALLENGER, "DesiredWeight": share},
        ]
    return {"EndpointName": endpoint.name, "DesiredWeightsAndCapacities": changed}


def _percent(share: float) -> str:
    return f"{share * 100:g} %"
