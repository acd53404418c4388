"""An endpoint in service becomes one that is checked and scales, or a notice that says what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mlplatform import kinds, names, sleeping
from mlplatform.capacity import lacks_capacity
from mlplatform.decisions import (
    ConfigureAutoscaling,
    FinishDeployment,
    MakeComponent,
    Notify,
    RejectUpdate,
    Skip,
    TagResource,
)
from mlplatform.deployment import way_to
from mlplatform.endpoint_alarms import (
    challenger_alarms,
    dimensions,
    endpoint_alarms,
    others_alarms,
    update_alarm_names,
    wrong_answer,
)
from mlplatform.facts import CHALLENGER, DATASET_TAG, STACK_TAG, Endpoint, HostingKind, Prediction, Unasked
from mlplatform.instances import vcpus
from mlplatform.settings import Settings
from mlplatform.sleeping import component_request, wake_alarm
from mlplatform.stand_ins import MOVE


def check_endpoint(endpoint: Endpoint, settings: Settings) -> Skip | Notify | FinishDeployment | MakeComponent | None:
    """What comes before scaling; None where the endpoint is in service with the config that it should run.

    A failed update leaves an endpoint InService with its old config and a FailureReason (SageMaker API reference,
    DescribeEndpoint), so the status alone proves nothing. deploy-model tags the endpoint with the config that it
    wants, and after the call with the config that it asked for: wanted but never asked for means that the endpoint
    was busy, asked for but not running means that the update failed.

    The model's name, which is the config's, counts as well: an endpoint whose capacity was changed has been seen with
    a config of SageMaker's own, named by a random id (github.com/aws-controllers-k8s/community/issues/2110).
    """
    foreign = _not_ours(endpoint, settings)
    if foreign is not None:
        return foreign
    if endpoint.busy:
        return Skip(f"{endpoint.name} is {endpoint.status}; the event of the end of that will decide.")
    wanted, asked = endpoint.tags.get(names.WANTED_TAG), endpoint.tags.get(names.ASKED_TAG)
    said = f": {endpoint.failure_reason.rstrip('.')}." if endpoint.failure_reason else ", and SageMaker gave no reason."
    once = names.notice_key(endpoint.name, (wanted or "unknown") + names.attempt(endpoint.tags), endpoint.status)
    if endpoint.status != "InService":
        return Notify(
            f"Endpoint {endpoint.name} is {endpoint.status} and serves nobody{said}{_other_type(endpoint)}",
            f"Endpoint {endpoint.name} is {endpoint.status}",
            once,
        )
    if endpoint.kind is HostingKind.SCALE_TO_ZERO:
        component = _check_component(endpoint, wanted, settings, once)
        if component is not None:
            return component
    becomes = kinds.hosting(endpoint.tags, settings, endpoint)
    if becomes.kind is not endpoint.kind:
        return Skip(f"{endpoint.name} is {endpoint.kind.value}, and on its way to {becomes.said}.")
    if wanted is None or wanted in {endpoint.config_name, endpoint.model_name}:
        return None
    dataset = endpoint.tags[DATASET_TAG]
    if endpoint.challenger and endpoint.failure_reason and asked == endpoint.model_name:
        return Notify(
            f"Endpoint {endpoint.name} is to be updated to {wanted}, for which its A/B test has to end first, and that "
            f"failed{said} Both of its models go on serving. To try again: mlp ab {dataset} --drop",
            f"The A/B test of {endpoint.name} could not be ended",
            once,
        )
    if asked == wanted:
        return Notify(
            f"The update of endpoint {endpoint.name} to {wanted} failed; it still serves {endpoint.config_name}{said}"
            f"{_other_type(endpoint)} Nobody has to do anything for it to go on serving. Its log: mlp logs {dataset}; "
            f"the models that there are: mlp models {dataset}.",
            f"Update of endpoint {endpoint.name} failed",
            once,
        )
    way = way_to(endpoint, wanted, dataset, kinds.hosting(endpoint.tags, settings, endpoint), settings)
    first = " First its A/B test ends." if endpoint.challenger else ""
    return FinishDeployment(
        reason=(
            f"{endpoint.name} was busy when {wanted} was to be deployed and is in service now; it is updated.{first}"
        ),
        endpoint=way.endpoint,
        model=way.model,
        deregister=way.deregister,
        alarms=way.alarms,
        component=way.component,
    )


def _other_type(endpoint: Endpoint) -> str:
    """What to try where SageMaker had no machine of any type that the config names."""
    if not lacks_capacity(endpoint.failure_reason):
        return ""
    dataset = endpoint.tags[DATASET_TAG]
    return (
        " That passes with time. What wakes in the morning is tried again every quarter of an hour; anything else by "
        f"mlp approve with the model's number, which mlp models {dataset} shows. Or set another hosting.instance_type "
        "in job.json and drop the data again."
    )


def told_elsewhere(endpoint: Endpoint) -> Notify | None:
    """That an endpoint runs on other machines than it was to, because there were none; None where it does not."""
    wanted = endpoint.instance_type
    if wanted is None or not endpoint.running_types or wanted in endpoint.running_types:
        return None
    runs = " and ".join(endpoint.running_types)
    config = (endpoint.config_name or "unknown") + names.attempt(endpoint.tags)
    return Notify(
        f"Endpoint {endpoint.name} runs on {runs}, because SageMaker had no {wanted}: as many processors, as much "
        f"memory, and about the same price. It goes back to {wanted} when it is started or updated the next time.",
        f"Endpoint {endpoint.name} runs on {runs}",
        names.notice_key(endpoint.name, config, "elsewhere"),
        routine=True,
    )


def _check_component(
    endpoint: Endpoint, wanted: str | None, settings: Settings, once: str
) -> Skip | Notify | MakeComponent | None:
    """None where its model is in service, be it the wanted one or another.

    One that failed can't be updated, which AWS says nowhere, so that it is deleted and made anew, once for each model
    that is asked for: what was asked for last is in a tag.
    """
    component = endpoint.component
    if component is None:
        if wanted is None:
            return Skip(f"{endpoint.name} has no model, and nothing says which one it should have.")
        request = component_request(endpoint, wanted, kinds.hosting(endpoint.tags, settings, endpoint), settings)
        return MakeComponent(
            f"{endpoint.name} is in service and gets {wanted} as its inference component.", endpoint.name, request
        )
    asked = endpoint.tags.get(names.ASKED_TAG)
    if component.status == "Failed" and wanted is not None and wanted != asked:
        request = component_request(endpoint, wanted, kinds.hosting(endpoint.tags, settings, endpoint), settings)
        return MakeComponent(
            f"The inference component of {endpoint.name} failed, and is made anew with {wanted}.",
            endpoint.name,
            request,
            replaces=True,
        )
    if component.status == "Failed":
        said = component.failure_reason or "SageMaker gave no reason"
        dataset = endpoint.tags[DATASET_TAG]
        return Notify(
            f"The inference component of endpoint {endpoint.name} failed, and serves nobody: {said.rstrip('.')}. Its "
            f"log: mlp logs {dataset}; the models that there are: mlp models {dataset}. It is made anew with the "
            "next one that is dropped, approved or rolled back to.",
            f"Endpoint {endpoint.name} has no model in service",
            once,
        )
    if component.status != "InService":
        return Skip(f"The inference component of {endpoint.name} is {component.status}; the next tick looks again.")
    return None


def skip_update(endpoint: Endpoint | None, name: str, settings: Settings) -> Skip | None:
    """Why the new model of an update is not asked while that is under way; None where it is."""
    if endpoint is None or endpoint.pending_config is None:
        return Skip(f"{name} is not being updated any more.")
    foreign = _not_ours(endpoint, settings)
    if foreign is not None:
        return foreign
    if endpoint.kind is not HostingKind.REAL_TIME:
        return Skip(f"{name} is {endpoint.kind.value}; its new model is asked when the update is over.")
    return None


def _not_ours(endpoint: Endpoint, settings: Settings) -> Skip | None:
    if endpoint.tags.get(STACK_TAG) == settings.stack_name and DATASET_TAG in endpoint.tags:
        return None
    return Skip(f"{endpoint.name} is not an endpoint that {settings.stack_name} made.")


def check_update(endpoint: Endpoint, config: str, prediction: Prediction | None) -> Skip | RejectUpdate:
    """What comes of an update that is watched; `prediction` is the new model's, None where it did not answer yet."""
    if prediction is None:
        return Skip(
            f"None of the answers of {endpoint.name} was {config}'s; its alarms watch what it answers to others."
        )
    if prediction.correct:
        return Skip(f"{endpoint.name} is being updated to {config}, which answers as expected.")
    dataset = endpoint.tags[DATASET_TAG]
    return RejectUpdate(
        f"{endpoint.name} is being updated to {config}, but that answers wrongly: {prediction.explanation}. The update "
        f"is rolled back; {endpoint.config_name} goes on serving. The log: mlp logs {dataset}; the models that there "
        f"are: mlp models {dataset}.",
        endpoint.name,
        wrong_answer(endpoint.name, config),
        names.notice_key(endpoint.name, config + names.attempt(endpoint.tags), "wrong-update"),
    )


def plan_autoscaling(
    endpoint: Endpoint, prediction: Prediction | Unasked, settings: Settings, bounds: tuple[int, int] | None = None
) -> Skip | Notify | ConfigureAutoscaling:
    """Scaling and alarms for an endpoint that check_endpoint let through.

    `prediction` is what its smoke test said, `bounds` the fewest and the most instances that it scales to now. What was
    begun there is over with that, unless an answer is still to come.
    """
    decision = _planned(endpoint, prediction, settings, bounds)
    awaited = isinstance(prediction, Unasked) and not sleeping.asleep(endpoint)
    begun = endpoint.tags.get(names.LOOK_TAG) or endpoint.tags.get(names.UNCHECKED_TAG)
    if isinstance(decision, ConfigureAutoscaling) and begun and not awaited:
        return replace(decision, last_tags=_over(endpoint))
    return decision


def seen(endpoint: Endpoint) -> TagResource | None:
    """What remembers that an endpoint was looked at and people heard what is wrong with it; None where it was known."""
    if not endpoint.tags.get(names.UNCHECKED_TAG):
        return None
    return TagResource(f"{endpoint.name} was looked at.", "endpoint", endpoint.arn, {names.UNCHECKED_TAG: ""})


def _over(endpoint: Endpoint) -> dict[str, str]:
    """Who changed its kind or its model may have ended before it could say so."""
    over = {key: "" for key in (names.LOOK_TAG, names.UNCHECKED_TAG) if endpoint.tags.get(key)}
    if names.LOOK_TAG not in over:
        return over
    if endpoint.tags[names.LOOK_TAG] == MOVE:
        over |= {names.ASKED_KIND_TAG: "", **kinds.kind_tag(endpoint.kind)}
    if endpoint.model_name and endpoint.tags.get(names.WANTED_TAG) == endpoint.model_name:
        over |= {names.ASKED_TAG: endpoint.model_name}
    return over


def _planned(
    endpoint: Endpoint, prediction: Prediction | Unasked, settings: Settings, bounds: tuple[int, int] | None
) -> Skip | Notify | ConfigureAutoscaling:
    if isinstance(prediction, Prediction) and not prediction.correct:
        return Notify(
            f"Endpoint {endpoint.name} is in service with {endpoint.model_name}, but its smoke test failed: "
            f"{prediction.explanation}.",
            f"Endpoint {endpoint.name} answers wrongly",
            names.notice_key(endpoint.name, endpoint.model_name or "unknown", "smoke-test"),
        )
    if endpoint.kind is HostingKind.SERVERLESS:
        said = (
            f"{endpoint.name} serves {endpoint.model_name} and answers as expected; SageMaker runs it serverless, from "
            f"nothing up to {endpoint.max_concurrency} requests at a time with {endpoint.memory_gb} GB each, so that "
            "there is nothing to scale, and it is watched by alarms."
        )
        return _unscaled(said, endpoint, settings)
    if endpoint.kind in kinds.SLEEPERS:
        return _sleeper(endpoint, prediction, settings, bounds)
    instance_type = endpoint.instance_type
    if instance_type is None:
        return Skip(f"{endpoint.name} has no instances of its own, so there is nothing to scale.")
    if instance_type.startswith("ml.t"):
        # "Automatic scaling of Amazon SageMaker AI models", prerequisites (developer guide)
        said = (
            f"{endpoint.name} answers as expected, but burstable instances such as {instance_type} can't be scaled "
            f"automatically; it stays at {endpoint.instance_count} of them, and is watched by alarms."
        )
        return _unscaled(said, endpoint, settings)
    return _scaled(endpoint, settings, bounds)


def _unscaled(reason: str, endpoint: Endpoint, settings: Settings) -> ConfigureAutoscaling:
    """Alarms alone."""
    return ConfigureAutoscaling(
        reason,
        endpoint.name,
        target={},
        policies=(),
        alarms=endpoint_alarms(endpoint, settings),
        ended=_ended(endpoint),
    )


def _scaled(endpoint: Endpoint, settings: Settings, bounds: tuple[int, int] | None) -> ConfigureAutoscaling:
    """A real-time endpoint on instances that can be scaled."""
    wishes = names.hosting_wishes(endpoint.tags)
    own = kinds.instance_bounds(wishes, settings)
    asked = bool({"min_instances", "max_instances"} & wishes.keys())
    (smallest, largest), whose = _bounds(own, bounds, endpoint.tags.get(names.BOUNDS_TAG), asked)
    remember = names.bounds_tag(own) if (smallest, largest) == own else {}
    if endpoint.tags.get(names.WANTED_TAG) in {endpoint.config_name, endpoint.model_name}:
        # Who asked for it may have ended before it could say so.
        remember |= {names.ASKED_TAG: endpoint.tags[names.WANTED_TAG]}
    invocations = int(wishes.get("invocations_per_instance", settings.invocations_per_instance))
    concurrent = wishes.get("concurrent_requests_per_instance")
    or_concurrent = f", {concurrent} concurrent requests" if concurrent else ""
    beside = " as the challenger of an A/B test" if endpoint.variant_name == CHALLENGER else ""
    variant = names.scalable_target(endpoint.name, endpoint.variant_name)
    named = names.of_variant(endpoint.name, endpoint.variant_name)
    dataset = endpoint.tags[DATASET_TAG]
    return ConfigureAutoscaling(
        reason=(
            f"{endpoint.name} serves {endpoint.model_name}{beside} and answers as expected; it scales from {smallest} "
            f"to {largest} instances{whose} on {invocations} invocations a minute{or_concurrent} or "
            f"{settings.cpu_target_percent} % CPU each."
        ),
        endpoint_name=endpoint.name,
        alarms=endpoint_alarms(endpoint, settings),
        ended=_ended(endpoint),
        endpoint_tags={key: value for key, value in remember.items() if endpoint.tags.get(key) != value},
        target={
            **variant,
            "MinCapacity": smallest,
            "MaxCapacity": largest,
            "Tags": names.tags(settings.required_tags, stack=settings.stack_name, dataset=dataset),
        },
        policies=_policies(endpoint, variant, named, settings),
        unwanted=() if concurrent else (_concurrency_policy(named),),
    )


def _policies(
    endpoint: Endpoint, variant: dict[str, Any], named: str, settings: Settings
) -> tuple[dict[str, Any], ...]:
    """Of several policies, the one that wants most instances is followed."""
    wishes = names.hosting_wishes(endpoint.tags)
    policies = [
        _policy(
            f"{named}-invocations",
            variant,
            float(wishes.get("invocations_per_instance", settings.invocations_per_instance)),
            _predefined("SageMakerVariantInvocationsPerInstance"),
            settings,
        ),
        # CPUUtilization is the sum over the cores, 0 to 100 % each: two cores make 200 % ("Monitor Amazon
        # SageMaker AI with Amazon CloudWatch", developer guide), so the target is scaled by their number.
        _policy(
            f"{named}-cpu",
            variant,
            float(settings.cpu_target_percent * vcpus(endpoint.instance_type or "")),
            {
                "CustomizedMetricSpecification": {
                    "MetricName": "CPUUtilization",
                    "Namespace": "/aws/sagemaker/Endpoints",
                    "Dimensions": dimensions(endpoint.name, endpoint.variant_name or names.VARIANT),
                    "Statistic": "Average",
                    "Unit": "Percent",
                }
            },
            settings,
        ),
    ]
    if concurrent := wishes.get("concurrent_requests_per_instance"):
        # Written every ten seconds, so that it scales out sooner, though not in ("Define a scaling policy", developer
        # guide).
        metric = _predefined("SageMakerVariantConcurrentRequestsPerModelHighResolution")
        policies.append(_policy(_concurrency_policy(named), variant, float(concurrent), metric, settings))
    return tuple(policies)


def _concurrency_policy(named: str) -> str:
    return f"{named}-concurrency"


def _predefined(metric: str) -> dict[str, Any]:
    return {"PredefinedMetricSpecification": {"PredefinedMetricType": metric}}


def _sleeper(
    endpoint: Endpoint, prediction: Prediction | Unasked, settings: Settings, bounds: tuple[int, int] | None
) -> ConfigureAutoscaling:
    own = (0, kinds.hosting(endpoint.tags, settings, endpoint).most)
    asked = "max_instances" in names.hosting_wishes(endpoint.tags)
    (smallest, largest), whose = _bounds(own, bounds, endpoint.tags.get(names.BOUNDS_TAG), asked)
    remember = names.bounds_tag(own) if (smallest, largest) == own else {}
    said = (
        "answers as expected" if isinstance(prediction, Prediction) else f"was not judged now, because {prediction.why}"
    )
    what = "copies" if endpoint.kind is HostingKind.SCALE_TO_ZERO else "instances"
    wakes = (
        "a call wakes it, and calls fail while it does"
        if endpoint.kind is HostingKind.SCALE_TO_ZERO
        else "requests wait in its queue while it wakes"
    )
    dataset = endpoint.tags[DATASET_TAG]
    return ConfigureAutoscaling(
        f"{endpoint.name} serves {endpoint.model_name}, {endpoint.kind.value}, and {said}; it scales from "
        f"{smallest} to {largest} {what}{whose}: at none {wakes}.",
        endpoint.name,
        target={
            **names.scalable_target(endpoint.name, kind=endpoint.kind),
            "MinCapacity": smallest,
            "MaxCapacity": largest,
            "Tags": names.tags(settings.required_tags, stack=settings.stack_name, dataset=dataset),
        },
        policies=sleeping.policies(endpoint, settings),
        endpoint_tags={key: value for key, value in remember.items() if endpoint.tags.get(key) != value},
        alarms=endpoint_alarms(endpoint, settings),
        ended=_ended(endpoint),
        wake=wake_alarm(endpoint, settings),
    )


def _ended(endpoint: Endpoint) -> tuple[str, ...]:
    """Alarms of the update that brought it here, or did not, for none is under way; of an A/B test that ended; and of
    the kind that it was before."""
    tags = endpoint.tags
    updates = update_alarm_names(endpoint.model_name, tags.get(names.WANTED_TAG), tags.get(names.ASKED_TAG))
    updates += others_alarms(endpoint)
    return updates if endpoint.challenger else (*updates, *challenger_alarms(endpoint.name))


def _bounds(
    own: tuple[int, int], now: tuple[int, int] | None, set_last: str | None, asked: bool
) -> tuple[tuple[int, int], str]:
    """The bounds that hold, and whose they are: a person's stay, until job.json asks for others than it did before.

    `set_last` is what the platform remembers to have set, and `asked` whether `own` comes from job.json. Bounds that
    are neither what it remembers nor what it wants are a person's.
    """
    remembered = {key: value for key, value in ((names.BOUNDS_TAG, set_last),) if value}
    if now is None or now == own or not remembered or names.bounds_tag(now) == remembered:
        return own, ""
    by_hand = f"{now[0]} to {now[1]}"
    if asked and names.bounds_tag(own) != remembered:
        return own, f" (as job.json now asks, in place of the {by_hand} that somebody set by hand)"
    return now, f" (as somebody set by hand; the platform's own {own[0]} to {own[1]} are left aside)"


def _policy(
    name: str, variant: dict[str, Any], target: float, metric: dict[str, Any], settings: Settings
) -> dict[str, Any]:
    return {
        **variant,
        "PolicyName": name,
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": target,
            "ScaleOutCooldown": settings.scale_out_cooldown_seconds,
            "ScaleInCooldown": settings.scale_in_cooldown_seconds,
            **metric,
        },
    }
