"""Hyperparameter tuning: a settled drop whose job.json asks for it becomes one tuning job; its best trial, a model.

The ceiling. What a tuning can cost at most is known before it starts: SageMaker ends each trial at MaxRuntimeInSeconds
(StoppingCondition, SageMaker API reference), bills no more seconds than a trial ran, and spot never costs more than
the on-demand price, so `jobs x MaxRuntimeInSeconds x instances x price` is an upper bound. A request whose bound is
above its ceiling is refused before anything exists. While it runs, the meter counts what the trials have really cost
(spot trials that still run at full price), and a tuning that has reached its ceiling is stopped; its best trial so far
goes on.

Warm starts. Only what a parent may differ in is different ("Run a Warm Start Hyperparameter Tuning Job", SageMaker
developer guide): the same objective, the same number of hyperparameters, each of the same type, at most 10 changes of
static values (an old and a new value count 2; what was tuned and is fixed now 1, or as many as it had choices), at most
5 parents, all of them ended. TransferLearning, because
IdenticalDataAndAlgorithm wants the same input data, and a version has its own manifest and its own live model to beat.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from mlplatform import names, prices
from mlplatform.decisions import AskApproval, DeployModel, KeepLiveModel, Notify, Request, Skip, StartTuning, StopTuning
from mlplatform.errors import DataRejected, UnknownPrice
from mlplatform.facts import (
    STACK_TAG,
    Drop,
    JobStatus,
    Range,
    Run,
    Table,
    TuningJob,
    TuningSpec,
)
from mlplatform.settings import Settings
from mlplatform.words import sentence

MOST_PARENTS = 5
# What is tuned unless job.json says otherwise. The default ranges are those of this network, it answers to them, and a
# trial of it takes seconds; the default of a single training is made to do well untuned, and takes ten times as long.
NETWORK = "mlp"
_MOST_STATIC_CHANGES = 10
# Of a tuning job and its parents together ("Run a Warm Start Hyperparameter Tuning Job"); one alone may have 750.
_MOST_TRIALS = 500
_CENT = Decimal("0.01")
Judged = DeployModel | KeepLiveModel | AskApproval | Notify
# What the toolkit is told for each job by itself; the trials of a tuning share all of their static hyperparameters.
_OF_ONE_JOB = "sagemaker_job_name"


def plan_tuning(
    job: Request, drop: Drop, table: Table, tuning: TuningSpec, manifest: str, settings: Settings
) -> StartTuning:
    """The tuning of a drop, from the CreateTrainingJob request of a job that would train it with fixed values.

    Raises DataRejected where the wishes do not fit the data or the ceiling.
    """
    name = names.tuning_job(settings.stack_name, drop.dataset, drop.version, settings.model_code_digest)
    if name is None:
        raise DataRejected(
            f"job.json asks for 'tuning', but a tuning job's name has at most {names.TUNING_NAME_LIMIT} characters and "
            f"starts with the stack's, {settings.stack_name}; deploy a stack whose name has at most "
            f"{names.longest_tuning_stack()}."
        )
    _assert_objective(job, table, tuning)
    request = _request(name, job, drop, tuning, settings)
    ceiling, bound, formula = _assert_affordable(request, tuning, settings)
    request["Tags"] = [*request["Tags"], *names.tag_list({names.CEILING_TAG: str(ceiling)})]
    network = request["TrainingJobDefinition"]["StaticHyperParameters"].get("network")
    of_which = f" of the network {network}" if network else ""
    ranges = ", ".join(_described(one) for one in tuning.ranges)
    explanation = (
        f"{table.explanation} {tuning.max_jobs} trials, {tuning.max_parallel_jobs} at a time, look for the best "
        f"{tuning.objective}{of_which} over {ranges}. They cost at most {bound} USD ({formula}); the "
        f"ceiling is {ceiling} USD."
    )
    return StartTuning(
        reason=f"{drop.dataset} version {drop.version} is good to tune on: {explanation} {name} runs on spot.",
        dataset=drop.dataset,
        version=drop.version,
        job_name=name,
        explanation=explanation,
        manifest=manifest,
        request=request,
        warm_start=tuning.warm_start,
    )


def _assert_objective(job: Request, table: Table, tuning: TuningSpec) -> None:
    metrics = [one["Name"] for one in job["AlgorithmSpecification"]["MetricDefinitions"]]
    usable = [name for name in metrics if name.startswith("validation:")]
    if tuning.objective not in usable:
        raise DataRejected(
            f"job.json has \"{tuning.objective}\" as 'tuning.objective'; a {table.task.value} task has "
            f"{', '.join(usable)}."
        )


def maximize(objective: str) -> bool:
    """Whether more of a metric is better: not of losses and errors."""
    return objective.rpartition(":")[2] not in {"loss", "log_loss", "rmse", "mae"}


def _request(name: str, job: Request, drop: Drop, tuning: TuningSpec, settings: Settings) -> dict[str, Any]:
    """CreateHyperParameterTuningJob. Its members and limits: SageMaker API reference, and the service model."""
    tuned = {one.name for one in tuning.ranges}
    algorithm = {
        key: job["AlgorithmSpecification"][key] for key in ("TrainingImage", "TrainingInputMode", "MetricDefinitions")
    }
    limits = dict(job["StoppingCondition"])
    if tuning.max_runtime_seconds is not None:
        limits["MaxWaitTimeInSeconds"] += tuning.max_runtime_seconds - limits["MaxRuntimeInSeconds"]
        limits["MaxRuntimeInSeconds"] = tuning.max_runtime_seconds
    checkpoints = names.checkpoint_prefix(drop.dataset, drop.version, settings.model_code_digest)
    return {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": tuning.strategy,
            "HyperParameterTuningJobObjective": {
                "Type": "Maximize" if maximize(tuning.objective) else "Minimize",
                "MetricName": tuning.objective,
            },
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": tuning.max_jobs,
                "MaxParallelTrainingJobs": tuning.max_parallel_jobs,
            },
            "ParameterRanges": _parameter_ranges(tuning.ranges),
            "TrainingJobEarlyStoppingType": "Auto" if tuning.early_stopping else "Off",
            # The same version tunes alike, however often it is tried.
            "RandomSeed": int(hashlib.sha256(name.encode()).hexdigest()[:7], 16),
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {
                key: value
                for key, value in {"network": NETWORK, **job["HyperParameters"]}.items()
                if key not in tuned | {_OF_ONE_JOB}
            },
            "AlgorithmSpecification": algorithm,
            **{
                key: job[key]
                for key in (
                    "RoleArn",
                    "InputDataConfig",
                    "OutputDataConfig",
                    "ResourceConfig",
                    "EnableManagedSpotTraining",
                    "RetryStrategy",
                    "EnableInterContainerTrafficEncryption",
                    "EnableNetworkIsolation",
                )
            },
            **settings.vpc_config,
            # Trials share the prefix; train.py keeps each trial's in a folder of its own name.
            "CheckpointConfig": {**job["CheckpointConfig"], "S3Uri": f"s3://{settings.artifact_bucket}/{checkpoints}"},
            "StoppingCondition": limits,
        },
        "Tags": [*job["Tags"], *names.tag_list({names.TUNING_TAG: name})],
    }


def _parameter_ranges(ranges: Iterable[Range]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for one in ranges:
        entry: dict[str, Any] = {"Name": one.name}
        if one.kind == "Categorical":
            entry["Values"] = list(one.values)
        else:
            entry |= {"MinValue": one.smallest, "MaxValue": one.largest, "ScalingType": one.scale}
        found.setdefault(f"{one.kind}ParameterRanges", []).append(entry)
    return found


def _described(one: Range) -> str:
    if one.kind == "Categorical":
        return f"{one.name} of {', '.join(one.values)}"
    scale = " (log)" if one.scale == "Logarithmic" else ""
    return f"{one.name} {one.smallest} to {one.largest}{scale}"


# ---- the ceiling ----


def _assert_affordable(request: Request, tuning: TuningSpec, settings: Settings) -> tuple[Decimal, Decimal, str]:
    """The ceiling, what the tuning can cost at most, and how that is computed."""
    definition = request["TrainingJobDefinition"]
    resources = definition["ResourceConfig"]
    seconds = definition["StoppingCondition"]["MaxRuntimeInSeconds"]
    try:
        price = prices.usd_per_hour(resources["InstanceType"], "training", settings.aws_region)
    except UnknownPrice as error:
        raise DataRejected(
            f"job.json asks for 'tuning' on {resources['InstanceType']}, and what that may cost can't be said: {error} "
            "Choose another 'instance_type', or leave 'tuning' out."
        ) from error
    count = resources["InstanceCount"]
    bound = (tuning.max_jobs * seconds * count * price / prices.SECONDS_PER_HOUR).quantize(_CENT)
    machines = f" x {count} instances" if count > 1 else ""
    formula = f"{tuning.max_jobs} trials x {seconds} s{machines} x {price} USD an hour on demand"
    ceiling = settings.tuning_max_cost_usd if tuning.max_cost_usd is None else tuning.max_cost_usd
    if bound > ceiling:
        raise DataRejected(
            f"job.json asks for a tuning that may cost up to {bound} USD ({formula}), above its ceiling of {ceiling} "
            "USD; lower 'tuning.max_jobs' or 'tuning.max_runtime_seconds', or raise 'tuning.max_cost_usd'."
        )
    return ceiling, bound, formula


def cost(trials: Iterable[Run], region: str, now: datetime) -> Decimal:
    """What trials have cost so far, in US dollars: billable seconds once they ended, else the time since their start.

    Raises UnknownPrice.
    """
    total = Decimal(0)
    for run in trials:
        if run.started is None:
            continue
        seconds = Decimal(max(((run.ended or now) - run.started).total_seconds(), 0))
        if run.ended is not None and run.billable_seconds is not None:
            seconds = Decimal(run.billable_seconds)
        for kind, count in run.fleet:
            total += seconds * count * prices.usd_per_hour(kind, run.use, region) / prices.SECONDS_PER_HOUR
    return total


def plan_ceilings(
    running: Iterable[tuple[TuningJob, Sequence[Run]]], now: datetime, settings: Settings
) -> list[StopTuning]:
    """What the meter does about the tuning jobs that run, each with all of its trials: nothing below their ceilings."""
    planned = [_plan_ceiling(job, trials, now, settings) for job, trials in running]
    return [decision for decision in planned if decision is not None]


def _plan_ceiling(job: TuningJob, trials: Sequence[Run], now: datetime, settings: Settings) -> StopTuning | None:
    ceiling = Decimal(job.tags.get(names.CEILING_TAG, str(settings.tuning_max_cost_usd)))
    try:
        spent = cost(trials, settings.aws_region, now)
    except UnknownPrice:
        return None  # plan_spend tells of what runs without a price; no ceiling can see it
    if job.status is not JobStatus.IN_PROGRESS or spent < ceiling:
        return None
    return StopTuning(
        f"{job.name} has cost {spent.quantize(_CENT)} USD in {len(trials)} trials, its ceiling is {ceiling} USD: it is "
        "stopped, and its best trial so far goes on.",
        job.name,
    )


# ---- warm start ----


def with_warm_start(decision: StartTuning, earlier: Iterable[TuningJob]) -> StartTuning:
    """The same tuning, starting from what earlier ones of its dataset have found, where SageMaker lets it."""
    parents = _parents(decision.request, earlier)
    if not parents:
        return decision
    request = {
        **decision.request,
        "WarmStartConfig": {
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": one.name} for one in parents],
            "WarmStartType": "TransferLearning",
        },
    }
    said = f"It starts from what {_listed([one.name for one in parents])} found."
    return replace(
        decision,
        request=request,
        reason=f"{decision.reason} {said}",
        explanation=f"{decision.explanation} {said}",
    )


def _parents(request: Request, earlier: Iterable[TuningJob]) -> list[TuningJob]:
    """The newest that fit, as many as may be."""
    trials = request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    chosen: list[TuningJob] = []
    for one in sorted(earlier, key=lambda one: (one.created is not None, one.created), reverse=True):
        ran = sum(one.trials.values())
        if len(chosen) < MOST_PARENTS and trials + ran <= _MOST_TRIALS and _fits(request, one):
            chosen.append(one)
            trials += ran
    return chosen


def _fits(request: Request, parent: TuningJob) -> bool:
    config, static = request["HyperParameterTuningJobConfig"], request["TrainingJobDefinition"]["StaticHyperParameters"]
    kinds = {
        one["Name"]: kind.removesuffix("ParameterRanges")
        for kind, ranges in config["ParameterRanges"].items()
        for one in ranges
    }
    changed = sum(2 for name in static.keys() & parent.static.keys() if static[name] != parent.static[name])
    fixed = sum(parent.choices.get(name, 1) for name in static if name in parent.ranges)
    return (
        parent.ended
        and parent.best is not None
        and parent.name != request["HyperParameterTuningJobName"]
        and parent.objective == config["HyperParameterTuningJobObjective"]["MetricName"]
        and static.keys() | kinds.keys() == parent.static.keys() | parent.ranges.keys()
        and all(kinds[name] == parent.ranges[name] for name in kinds.keys() & parent.ranges.keys())
        and changed + fixed <= _MOST_STATIC_CHANGES
    )


# ---- the end ----


def skip_tuning(job: TuningJob, outcome_exists: bool, settings: Settings) -> Skip | None:
    """Why this event needs nothing done; None if it does."""
    if job.tags.get(STACK_TAG) != settings.stack_name or job.tags.get(names.TUNING_TAG) != job.name:
        return Skip(f"{job.name} is not a tuning job that {settings.stack_name} started.")
    if not job.ended:
        return Skip(f"{job.name} is {job.status.value}, whatever the event said; the event of its end will decide.")
    if outcome_exists:
        return Skip(f"{job.name} already had its outcome; an event that comes again changes nothing.")
    return None


def without_best(job: TuningJob, spent: str) -> Notify:
    """A tuning that ended without a trial that could go on."""
    dataset = job.dataset or ""
    why = f" {sentence(job.failure_reason)}" if job.failure_reason else ""
    return Notify(
        f"Tuning job {job.name} ended as {job.status.value} without a usable trial.{why} {_counted(job)} {spent} "
        "Nothing was deployed. The trials' logs say why; one training with fixed hyperparameters may show it sooner.",
        f"Tuning of {dataset} has no result",
        names.outcome_key(dataset, job.name),
    )


def told(decision: Judged, job: TuningJob, spent: str) -> Judged:
    """What became of a tuning's best trial, with what the tuning was."""
    return replace(decision, reason=f"{summary(job)} {spent} {decision.reason}")


def summary(job: TuningJob) -> str:
    """How a tuning went: trials, the best of them, and its hyperparameters."""
    ended = "" if job.status is JobStatus.COMPLETED else f" It ended as {job.status.value}."
    return f"Tuning job {job.name}: {_counted(job)}{ended} {best(job)}"


def best(job: TuningJob) -> str:
    """The best trial so far, in a sentence."""
    if job.best is None:
        return "No trial has completed yet."
    value = "" if job.best_value is None else f" {job.best_value:.5g}"
    values = ", ".join(f"{name} {shortened(value)}" for name, value in sorted(job.best_values.items()))
    return f"The best {job.objective}{value} has {job.best} ({values})."


def spending(trials: Sequence[Run], region: str, now: datetime) -> str:
    """What trials have cost, in a sentence."""
    try:
        usd = cost(trials, region, now)
    except UnknownPrice as error:
        return f"What it cost can't be said. {error}"
    open_ones = sum(1 for run in trials if run.ended is None or run.billable_seconds is None)
    part = f", {open_ones} of them counted at full price, because what is billed is not told yet" if open_ones else ""
    return f"Its {len(trials)} trials cost {usd:.4f} USD{part}."


def _counted(job: TuningJob) -> str:
    words = {
        "Completed": "completed",
        "Stopped": "stopped early",
        "InProgress": "running",
        "NonRetryableError": "failed",
        "RetryableError": "failed on SageMaker's side",
    }
    parts = [f"{job.trials[key]} {word}" for key, word in words.items() if job.trials.get(key)]
    return f"{sum(job.trials.values())} of {job.jobs} trials ({', '.join(parts) or 'none ended'})."


def shortened(value: str) -> str:
    """A hyperparameter's value for people: a continuous one arrives with as many digits as a float has."""
    try:
        return f"{float(value.strip(chr(34))):.4g}"
    except ValueError:
        return value


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
