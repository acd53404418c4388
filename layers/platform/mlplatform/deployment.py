"""An ended training job becomes a deployed model, a kept one, one that waits for a person, or a notice: the gate.

plan_deployment is the gate, for whatever trains a model; `deployment` makes any model of the registry the one that its
dataset's endpoint serves, and is the only way there: for a model that the gate just accepted, for one that a person
approved, for one that is rolled back to (releases.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from mlplatform import approval, containers, kinds, names, registry
from mlplatform.capacity import lacks_capacity, same_size
from mlplatform.decisions import AskApproval, DeployModel, KeepLiveModel, Notify, Request, Skip
from mlplatform.endpoint_alarms import update_alarm_names, update_alarms
from mlplatform.errors import PlatformError, TryAgain
from mlplatform.facts import (
    CHALLENGER,
    DATASET_TAG,
    STACK_TAG,
    Approval,
    Ended,
    Endpoint,
    HostingKind,
    JobStatus,
    ModelCard,
    ModelMetrics,
    Parked,
    Task,
    TrainingJob,
    UnreadableCard,
)
from mlplatform.kinds import Hosting
from mlplatform.model_cost import wished_hosting_cost
from mlplatform.parking import without_variant
from mlplatform.prices import usd_per_hour
from mlplatform.records import dataclass
from mlplatform.settings import Settings
from mlplatform.sleeping import component_update
from mlplatform.stand_ins import MOVE, start_move
from mlplatform.words import sentence

_LAUNCH_SECONDS = 1800  # for an update beside its waits: instances that start, and models that load
# SageMaker API reference, DescribeTrainingJob, SecondaryStatus: how a Stopped job came to stop.
_STOPPED_BECAUSE = {
    "MaxWaitTimeExceeded": "no spot capacity was found, or it was taken away too often, within the {wait} that a job "
    "may wait and run; try {other}, or a longer TrainingMaxWaitSeconds",
    "MaxRuntimeExceeded": "it did not finish within {runtime} of running; ask for fewer epochs or a larger "
    "instance_type in job.json, or raise TrainingMaxRuntimeSeconds",
}


@dataclass(frozen=True)
class Live:
    """What the dataset's endpoint has at the moment the new model is judged, or has parked for the morning."""

    endpoint: Endpoint  # of a parked one, what it will come back as
    job: TrainingJob | None  # that trained the live model
    card: ModelCard | None  # as registered with it
    parked: Parked | None = None
    standing_in: bool = False  # the endpoint is being made anew: this is what stands in for it, see moving.py


@dataclass(frozen=True)
class Candidate:
    """What the gate judges, whatever it was trained by."""

    name: str
    created: datetime | None
    compared_with: str | None  # the artifact that was live, and was scored on the same test rows


@dataclass(frozen=True)
class Model:
    """What is deployed: a model of the registry, or one that is registered on the way."""

    dataset: str
    name: str  # also of its config
    container: Request
    hosting: str  # the tag that says what job.json asked for, names.hosting_tag


def is_trial(job: TrainingJob, settings: Settings) -> bool:
    """Whether the job is a trial of a tuning that the stack started; the end of the tuning decides about those."""
    return job.tuning is not None and job.tags.get(STACK_TAG) == settings.stack_name


def is_own(name: str, tags: Mapping[str, str], settings: Settings) -> bool:
    """Whether a training job is one that the stack started by itself.

    Trials of a tuning job carry the tuning job's tags (SageMaker API reference, CreateHyperParameterTuningJob), so
    the name has to be one of ours as well.
    """
    stack, dataset, version = settings.stack_name, tags.get(DATASET_TAG), tags.get(names.VERSION_TAG)
    ours = tags.get(STACK_TAG) == stack and dataset is not None and version is not None
    return ours and name.startswith(f"{stack}-{dataset}-{version}-")


def skip_job(job: TrainingJob, outcome_exists: bool, settings: Settings) -> Skip | None:
    """Why this event needs nothing done; None if it does."""
    if not is_own(job.name, job.tags, settings):
        return Skip(f"{job.name} is not a training job that {settings.stack_name} started.")
    if job.status in {JobStatus.IN_PROGRESS, JobStatus.STOPPING}:
        return Skip(f"{job.name} is {job.status.value}, whatever the event said; the event of its end will decide.")
    if outcome_exists:
        return Skip(f"{job.name} already had its outcome; an event that comes again changes nothing.")
    return None


def not_dealt_with(ended: Ended, error: PlatformError) -> Notify:
    """What people hear, once, of an end that the clock has found and that could not be dealt with."""
    return Notify(
        f"{ended.name} has ended, and what follows from that failed: {error} It is tried again every few hours, for a "
        "day.",
        f"The end of {ended.name} is not dealt with",
        names.notice_key(ended.name, "ended", "failed"),
    )


def plan_deployment(
    job: TrainingJob, card: ModelCard | UnreadableCard | None, live: Live | None, settings: Settings
) -> Notify | DeployModel | KeepLiveModel | AskApproval:
    """What becomes of an ended job that skip_job let through. `card` is None where the job left no artifact.

    Raises TryAgain while the endpoint is being deleted: Lambda delivers the event again a minute later.
    """
    dataset = job.dataset or ""
    if job.status in {JobStatus.FAILED, JobStatus.STOPPED} or not isinstance(card, ModelCard):
        return _without_model(job, card, settings)
    if live and live.endpoint.status == "Deleting":
        raise TryAgain(f"Endpoint {live.endpoint.name} is being deleted; {job.name} can be deployed once it is gone.")
    serving = live if live and not live.endpoint.dead else None
    candidate = Candidate(job.name, job.created, job.inputs.get("live_model"))
    good, finding, action = judge(candidate, card.metrics, serving)
    begun = is_begun(serving, job.name)
    if begun:
        good, (finding, action) = True, judged_before(candidate, card.metrics)
    cost = wished_hosting_cost(job.tags, settings)
    wishes = names.hosting_wishes(job.tags)
    container = _container(job, wishes.get("instance_type", settings.hosting_instance_type), settings)
    differs = tuple(approval.difference(card, serving.endpoint if serving else None, cost, settings))

    def package(verdict: Approval, reason: str, asked: str = "") -> Request:
        return registry.package_request(
            job, card, container, approval=verdict, reason=reason, cost=cost, asked=asked, settings=settings
        )

    if not good:
        reason = f"{finding}; {action}. {_billing(job)}"
        return KeepLiveModel(reason, dataset, job.name, package(Approval.REJECTED, reason), card)
    ask = approval.why_ask(
        card,
        serving.card if serving else None,
        cost,
        settings,
        serving=serving is not None,
        requested=names.APPROVAL_TAG in job.tags,
        tested=names.challenger_wishes(serving.endpoint.tags) if serving else None,
    )
    if ask is not None:
        reason = f"{finding}; it waits for a person's approval, because {ask.reason}. {_billing(job)}"
        return AskApproval(
            reason,
            dataset,
            job.name,
            model_package=package(Approval.PENDING, reason, ask.kinds),
            card=card,
            difference=differs,
        )
    reason = f"{finding}; {action}. {_billing(job)}"
    model = Model(dataset, job.name, container, job.tags.get(names.HOSTING_TAG, ""))
    return deployment(
        reason,
        model,
        live,
        settings,
        model_package=package(Approval.APPROVED, reason),
        card=card,
        difference=differs,
    )


def _without_model(job: TrainingJob, card: ModelCard | UnreadableCard | None, settings: Settings) -> Notify:
    """What people hear of a job that failed, was stopped, or left nothing that can be used."""
    dataset = job.dataset or ""
    once = names.outcome_key(dataset, job.name)
    if job.status is JobStatus.FAILED:
        said = sentence(job.failure_reason) if job.failure_reason else "SageMaker gave no reason."
        if lacks_capacity(job.failure_reason):
            said += f" Try {_other_type(job, settings)}, or drop it again under a new name when that has passed."
        return Notify(f"Training job {job.name} failed: {said} {_billing(job)}", f"Training of {dataset} failed", once)
    if job.status is JobStatus.STOPPED:
        why = _STOPPED_BECAUSE.get(
            job.secondary_status, "somebody stopped it; drop the data again under a new name, or ask them"
        )
        why = why.format(
            wait=_duration(job.max_wait_seconds),
            runtime=_duration(job.max_runtime_seconds),
            other=_other_type(job, settings),
        )
        return Notify(
            f"Training job {job.name} stopped ({job.secondary_status}) without a model to deploy: {why}. "
            f"{_billing(job)}",
            f"Training of {dataset} stopped",
            once,
        )
    wrong = card.explanation if isinstance(card, UnreadableCard) else "there is none"
    return Notify(
        f"Training job {job.name} completed, but its model artifact can't be used: {wrong}. Nothing was deployed.",
        f"Model of {dataset} can't be used",
        once,
    )


def judge(candidate: Candidate, new: ModelMetrics, live: Live | None) -> tuple[bool, str, str]:
    """Whether the new model passes the gate; what was found, and what becomes of it: two clauses."""
    score, name = new.score, new.objective
    if score is None or not math.isfinite(score):
        finding = f"{candidate.name} says no usable {name} for its test rows, so that it can't be judged"
        return False, finding, "it is not deployed"
    good, chance = _beats_chance(new)
    if live is None:
        return good, f"{candidate.name} {chance}", "the first model goes live" if good else "it is not deployed"
    if candidate.compared_with != live.endpoint.artifact_uri:
        return _judge_late(candidate, new, score, live)
    if new.live_score is None or not math.isfinite(new.live_score):
        said = _clause(new.live_error or "no reason given")
        return (
            good,
            f"The live model could not be scored on the new test rows ({said}); {candidate.name} {chance}",
            "it goes live" if good else "it is not deployed either",
        )
    better = _better(new, score, new.live_score)
    finding = _beside_live(candidate, new, score, new.live_score)
    return better, finding, "it replaces it" if better else "the live model stays"


def is_begun(live: Live | None, model: str) -> bool:
    """Whether the endpoint is on its way to the model already, or serves it: a function that was to deploy it and did
    not end has got that far, and what is live now is no longer what the model was judged against."""
    return live is not None and live.endpoint.tags.get(names.WANTED_TAG) == model


def judged_before(candidate: Candidate, new: ModelMetrics) -> tuple[str, str]:
    """What was found of a model whose deployment is begun, and what becomes of it: two clauses.

    Of what it was judged against nothing is known any more but the score that it had on the new model's rows.
    """
    score = new.score
    if candidate.compared_with is None:
        return f"{candidate.name} {_beats_chance(new)[1]}", "the first model goes live"
    if score is not None and new.live_score is not None and _better(new, score, new.live_score):
        return _beside_live(candidate, new, score, new.live_score), "it replaces it"
    return f"{candidate.name} has passed its gate", "it goes live"


def _beside_live(candidate: Candidate, new: ModelMetrics, score: float, live: float) -> str:
    digits = 4 if f"{score:.4f}" != f"{live:.4f}" else 6  # so that "better than" can be seen
    than = "better" if _better(new, score, live) else "no better"
    has = f"{candidate.name} has {new.objective} {score:.{digits}f} on the new test rows"
    return f"{has}, {than} than the live model's {live:.{digits}f}"


def _judge_late(candidate: Candidate, new: ModelMetrics, score: float, live: Live) -> tuple[bool, str, str]:
    """Another model went live while this one trained, so that the two never met on the same test rows."""
    other = live.endpoint.model_name
    if live.job and live.job.created and candidate.created and live.job.created > candidate.created:
        return (
            False,
            f"{candidate.name} finished after {other}, which was started later, went live",
            "the newer one stays",
        )
    theirs = live.card.metrics.score if live.card and live.card.metrics.objective == new.objective else None
    if theirs is None or not math.isfinite(theirs):
        return (
            False,
            f"{candidate.name} was not compared with {other}, which went live meanwhile",
            "the live model stays",
        )
    better = _better(new, score, theirs)
    return (
        better,
        f"{other} went live while {candidate.name} trained; on their own test rows they have {new.objective} "
        f"{theirs:.4f} and {score:.4f}",
        "the newer one replaces it" if better else "the live model stays",
    )


def _better(metrics: ModelMetrics, new: float, live: float) -> bool:
    """A tie keeps the live model: replacing it would only cost."""
    return new > live if metrics.maximize else new < live


def _beats_chance(metrics: ModelMetrics) -> tuple[bool, str]:
    name, needed = ("r2", 0.0) if metrics.task is Task.REGRESSION else ("roc_auc", 0.5)
    value = metrics.test.get(name)
    if value is None or not math.isfinite(value):
        return False, f"says no usable {name} for its test rows"
    good = value > needed
    return (
        good,
        f"has {name} {value:.4f} on its test rows, {'better' if good else 'no better'} than chance ({needed:g})",
    )


def deployment(
    reason: str,
    model: Model,
    live: Live | None,
    settings: Settings,
    *,
    model_package: Request | None = None,
    card: ModelCard | None = None,
    difference: tuple[str, ...] = (),
    package: str = "",
    release: str = "",
) -> DeployModel:
    """Makes a model the one that its dataset's endpoint serves; a parked endpoint will come back with it.

    Raises TryAgain while the endpoint is being deleted: Lambda delivers the event again a minute later.
    """
    name = names.endpoint(settings.stack_name, model.dataset)
    if live and live.endpoint.status == "Deleting":
        raise TryAgain(f"Endpoint {name} is being deleted; {model.name} can be deployed once it is gone.")
    parked = live.parked if live else None
    tested = names.challenger_wishes(live.endpoint.tags) if live else {}
    exists = live is not None and parked is None and not live.standing_in and not live.endpoint.dead
    serving = live.endpoint if live and exists else None
    wanted = kinds.hosting({names.HOSTING_TAG: model.hosting}, settings, live.endpoint if live else None)
    moved = serving if serving and not kinds.in_place(serving.kind, wanted.kind) else None
    woken: dict[str, str] = {}
    if parked and wanted.kind is not HostingKind.REAL_TIME:
        # What costs nothing while nobody asks need not wait for the morning; office hours forget the record.
        woken = dict(parked.tags)
        parked = None
    tags = names.tags(settings.required_tags, stack=settings.stack_name, dataset=model.dataset)
    deployed = _deployed_tags(model, wanted, serving, tags, moves=moved is not None, tested=bool(tested))
    if release:
        deployed |= {names.RELEASE_TAG: release}
    said = [reason, *_said(model, live, serving, wanted, moves=moved is not None)]
    if parked:
        said.append("The endpoint is stopped now, and will come back with this model.")
    way = way_to(serving, model.name, model.dataset, wanted, settings) if serving and not moved else None
    move = None
    if moved is not None:
        was = moved.tags.get(names.BEFORE_TAG) or moved.tags.get(names.HOSTING_TAG, "")
        deployed |= {names.BEFORE_TAG: was, names.LOOK_TAG: MOVE}
        move = start_move(moved, model.name, wanted, {**moved.tags, **deployed}, was, settings)
        said.append(move.reason)
    create: Request = {
        "EndpointName": name,
        "EndpointConfigName": kinds.config_name(wanted, model.name, name),
        "Tags": names.tag_list(woken | deployed | {names.ASKED_TAG: model.name, names.UNCHECKED_TAG: model.name}),
    }
    return DeployModel(
        reason=" ".join(said),
        dataset=model.dataset,
        job_name=model.name,
        model_package=model_package,
        model=model_request(model, settings),
        endpoint_config=kinds.config_request(wanted, model.name, name, tags, settings),
        endpoint=way.endpoint if way else move.endpoint if move else create,
        alarms=way.alarms if way else (),
        endpoint_tags=deployed,
        exists=exists,
        asks=way.model if way else "",
        card=card,
        replace=live is not None and live.endpoint.dead and not live.standing_in,
        has_component=live is not None and live.endpoint.component is not None,
        deregister=way.deregister if way else None,
        component=way.component if way else None,
        parked=without_variant(parked, CHALLENGER) if parked and tested else parked,
        move=move,
        difference=difference,
        package=package,
        release=release,
    )


def _deployed_tags(
    model: Model, wanted: Hosting, serving: Endpoint | None, tags: Mapping[str, str], *, moves: bool, tested: bool
) -> dict[str, str]:
    """What the endpoint is tagged with. Empty rather than absent: an update must also clear what an earlier job.json
    asked for."""
    found = {**tags, names.HOSTING_TAG: kinds.tag(model.hosting, wanted), names.WANTED_TAG: model.name}
    if not moves and _tells_its_kind(wanted, serving):
        found |= kinds.kind_tag(wanted.kind)
    if wanted.kind is HostingKind.SCALE_TO_ZERO:
        found |= {names.LOOK_TAG: "component"}
    if tested:
        found |= {names.CHALLENGER_TAG: ""}
    return found


def _said(model: Model, live: Live | None, serving: Endpoint | None, wanted: Hosting, *, moves: bool) -> Iterator[str]:
    """What is told of a deployment besides its reason: sentences."""
    if not moves and _tells_its_kind(wanted, serving):
        yield f"It is hosted {wanted.said}."
    tested = names.challenger_wishes(live.endpoint.tags) if live else {}
    if tested:
        yield f"The A/B test of {model.dataset}/{tested.get('version', '?')} ends with that."
    if live and live.endpoint.busy and model.name not in {live.endpoint.model_name, live.endpoint.pending_config}:
        yield f"The endpoint is {live.endpoint.status}; the model follows when that is over."
    if serving and serving.component and serving.component.status == "Failed" and not moves:
        yield "Its inference component has failed, and is made anew within a quarter of an hour."


def _tells_its_kind(wanted: Hosting, serving: Endpoint | None) -> bool:
    """A real-time endpoint that was one before says nothing of its kind."""
    return wanted.kind is not HostingKind.REAL_TIME or (serving is not None and serving.kind is not wanted.kind)


def model_request(model: Model, settings: Settings) -> Request:
    """CreateModel."""
    return {
        "ModelName": model.name,
        "ExecutionRoleArn": settings.training_role_arn,
        "PrimaryContainer": model.container,
        **settings.vpc_config,
        "Tags": names.tag_list(names.tags(settings.required_tags, stack=settings.stack_name, dataset=model.dataset)),
    }


@dataclass(frozen=True)
class Way:
    """The next update on the way to a model, and what has to be done before it."""

    endpoint: Request  # UpdateEndpoint
    model: str  # that it is updated to
    deregister: Request | None = None
    alarms: tuple[Request, ...] = ()
    component: Request | None = None  # UpdateInferenceComponent, of an endpoint that scales to zero


def way_to(endpoint: Endpoint, model: str, dataset: str, wanted: Hosting, settings: Settings) -> Way:
    """How an endpoint in service, or on its way there, comes to serve a model alone.

    Where an A/B test runs its challenger leaves first, for an update that changes the variants can be neither watched
    nor rolled back (change_of_variants). What follows is an update like any other.
    """
    if endpoint.challenger is not None:
        return without_challenger(endpoint)
    return Way(
        update_request(endpoint, model, wanted, settings),
        model,
        deregistration(endpoint, wanted),
        watching(endpoint, model, dataset, wanted, settings),
        component_update(endpoint, model, wanted) if endpoint.component else None,
    )


def change_of_variants(endpoint_name: str, config: str) -> Request:
    """UpdateEndpoint to a config with another set of variants.

    Deployment guardrails want the variants to have the same names before and after ("Exclusions", SageMaker developer
    guide), so that there is no DeploymentConfig: a whole new fleet starts, and gets all traffic at once when it is
    healthy, with no availability loss (UpdateEndpoint, SageMaker API reference). RetainAllVariantProperties holds for
    variants of the same name ("Update endpoints that use auto scaling", developer guide): the live model keeps its
    number of instances, and a new variant gets its config's. The weights are the config's.
    """
    return {
        "EndpointName": endpoint_name,
        "EndpointConfigName": config,
        "RetainAllVariantProperties": True,
        "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
    }


def without_challenger(endpoint: Endpoint) -> Way:
    """Back to the live model's own config, which is named like it. A variant that goes has to be off scaling before
    ("Update endpoints that use auto scaling", SageMaker developer guide)."""
    live = endpoint.model_name or ""
    return Way(change_of_variants(endpoint.name, live), live, names.scalable_target(endpoint.name, CHALLENGER))


def update_request(endpoint: Endpoint, model: str, wanted: Hosting, settings: Settings) -> dict[str, Any]:
    """UpdateEndpoint, blue/green: a new fleet is started beside the old one, watched, and taken back if an alarm rings.

    A canary may be half of the new fleet at most ("Use canary traffic shifting", SageMaker developer guide), which no
    part of a single instance is: there all traffic moves at once, and the old instance waits for as long as the new one
    is watched. Without RetainAllVariantProperties a scaled-out fleet would be reset to its initial size.

    What is or was serverless has no fleet to shift, to keep or to watch (kinds.py). What sleeps begins anew with one
    instance, so that the new model is seen to start; one that scales to zero gets its model by another call.
    """
    config = kinds.config_name(wanted, model, endpoint.name)
    if not guarded(endpoint, wanted):
        return {"EndpointName": endpoint.name, "EndpointConfigName": config}
    wait = settings.baking_seconds
    canary = {"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": settings.canary_percent}}
    several = (endpoint.instance_count or 1) > 1
    return {
        "EndpointName": endpoint.name,
        "EndpointConfigName": config,
        "RetainAllVariantProperties": True,
        "DeploymentConfig": {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": {
                    **(canary if several else {"Type": "ALL_AT_ONCE"}),
                    "WaitIntervalInSeconds": wait if several else 0,
                },
                "TerminationWaitInSeconds": wait,
                "MaximumExecutionTimeoutInSeconds": 2 * wait + _LAUNCH_SECONDS,
            },
            "AutoRollbackConfiguration": {
                "Alarms": [{"AlarmName": name} for name in update_alarm_names(config)],
            },
        },
    }


def watching(endpoint: Endpoint, model: str, dataset: str, wanted: Hosting, settings: Settings) -> tuple[Request, ...]:
    """PutMetricAlarm for what an update_request is rolled back by."""
    if not guarded(endpoint, wanted):
        return ()
    return update_alarms(endpoint.name, model, dataset, settings)


def guarded(endpoint: Endpoint, wanted: Hosting) -> bool:
    """Whether SageMaker shifts traffic bit by bit, watches alarms, and goes back, in such an update."""
    return endpoint.kind is wanted.kind is HostingKind.REAL_TIME


def deregistration(endpoint: Endpoint, wanted: Hosting) -> Request | None:
    """DeregisterScalableTarget, where an update is to change the instance type.

    A variant that is registered for scaling can't change its instance type ("Update or delete endpoints that use
    automatic scaling", SageMaker developer guide). configure-autoscaling registers it again after the update.
    """
    if endpoint.instance_type in {None, wanted.instance_type} or wanted.kind is HostingKind.SCALE_TO_ZERO:
        return None
    return names.scalable_target(endpoint.name)


def _container(job: TrainingJob, instance_type: str, settings: Settings) -> Request:
    return {
        "Image": containers.inference_image(settings.aws_region, instance_type),
        "ModelDataUrl": job.artifact_uri,
        "Environment": containers.inference_environment(settings.aws_region),
    }


def _billing(job: TrainingJob) -> str:
    """What spot saved, where SageMaker says: (1 - billable / training) of the seconds."""
    if not job.training_seconds or job.billable_seconds is None:
        return (
            "Nothing was billed for it yet." if job.billable_seconds == 0 else "SageMaker gives no billed time for it."
        )
    saved = 1 - job.billable_seconds / job.training_seconds
    return f"Spot billed {job.billable_seconds} of {job.training_seconds} training seconds, {saved:.0%} saved."


def _other_type(job: TrainingJob, settings: Settings) -> str:
    """What to put into job.json where there are no machines of a job's type, with its price."""
    instead = same_size(job.instance_type, "training", settings.aws_region)
    if not instead:
        return "another instance_type in job.json"
    price = usd_per_hour(instead[0], "training", settings.aws_region)
    return f"instance_type {instead[0]} in job.json (of the same size; {price} USD an hour before the spot discount)"


def _duration(seconds: int | None) -> str:
    return "time" if seconds is None else f"{seconds} seconds"


def _clause(text: str) -> str:
    return text.strip().rstrip(".")
