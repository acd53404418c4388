"""SageMaker hyperparameter tuning on this machine: the API, the states, and a thread per tuning job that runs trials.

A trial is a training job of laptop/training.py: it really runs, on spot where that is asked for, can be interrupted,
has logs, metrics and an artifact, and costs what it costs. What is tried next is Optuna's choice: its TPE sampler for
the strategy Bayesian (SageMaker's own is a Gaussian process, whose code is not public), its random one for Random.

Where SageMaker's documentation leaves a number open, the laptop's is a constant below. Not here: Hyperband, Grid,
several TrainingJobDefinitions, HyperParameterTuningResourceConfig, Autotune, completion criteria.

Sources: the API reference of the operations (https://docs.aws.amazon.com/sagemaker/latest/APIReference/),
https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-early-stopping.html,
https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-warm-start.html and
https://docs.aws.amazon.com/sagemaker/latest/dg/automatic-model-tuning-limits.html.
"""

from __future__ import annotations

import statistics
import threading
import traceback
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from laptop.account import Account
from laptop.errors import ServiceError
from laptop.jobs import Jobs
from laptop.sagemaker_common import arn, invalid, page, read_tags
from laptop.training import Job as Trained
from laptop.training import Training

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

MOST_JOBS, MOST_PARALLEL = 750, 10  # default quotas ("Resource Limits for Automatic Model Tuning", developer guide)
MOST_WITH_PARENTS = 500  # training jobs of a warm start and its parents
MOST_STATIC_CHANGES = 10  # between a parent and a warm start
ENDED = ("Completed", "Failed", "Stopped")
LOOK_SECONDS = 0.1  # between two looks at the running trials
# How many trials must have run to their end, and how far, before others are stopped for being worse than them.
COMPARABLE_TRIALS, COMPARABLE_EPOCHS = 3, 4
_EVENT_FIELDS = (
    "HyperParameterTuningJobName",
    "HyperParameterTuningJobArn",
    "TrainingJobDefinition",
    "HyperParameterTuningJobStatus",
    "FailureReason",
    "CreationTime",
    "HyperParameterTuningEndTime",
    "LastModifiedTime",
    "TrainingJobStatusCounters",
    "ObjectiveStatusCounters",
)
_OF_A_TRIAL = (  # members of TrainingJobDefinition that are members of CreateTrainingJob
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "VpcConfig",
    "OutputDataConfig",
    "ResourceConfig",
    "StoppingCondition",
    "EnableNetworkIsolation",
    "EnableInterContainerTrafficEncryption",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "RetryStrategy",
    "Environment",
)
# What SageMaker tells a trial's container besides; it describes a tuning job with it as well (the SageMaker SDK's
# tuner.py takes it from there before it makes an estimator of it).
OBJECTIVE_HYPERPARAMETER = "_tuning_objective_metric"


@dataclass
class Trial:
    """One training job of a tuning job."""

    number: int  # Optuna's
    job: Trained
    values: Mapping[str, str]  # of the tuned hyperparameters
    stopped_early: bool = False
    told: bool = False


@dataclass
class Job:
    """A tuning job: the request, and what has become of it."""

    request: Mapping[str, Any]
    arn: str
    created: datetime
    status: str = "InProgress"
    modified: datetime = field(init=False)
    ended: datetime | None = None
    failure_reason: str | None = None
    trials: list[Trial] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.modified = self.created

    @property
    def name(self) -> str:
        return str(self.request["HyperParameterTuningJobName"])

    @property
    def config(self) -> Mapping[str, Any]:
        return self.request["HyperParameterTuningJobConfig"]  # type: ignore[no-any-return]

    @property
    def metric(self) -> str:
        return str(self.config["HyperParameterTuningJobObjective"]["MetricName"])

    @property
    def maximize(self) -> bool:
        return bool(self.config["HyperParameterTuningJobObjective"]["Type"] == "Maximize")

    @property
    def static(self) -> Mapping[str, str]:
        return self.request["TrainingJobDefinition"].get("StaticHyperParameters", {})  # type: ignore[no-any-return]

    def value(self, trial: Trial) -> float | None:
        """The objective as the trial's log told it last, once the trial has ended without an error."""
        with trial.job.lock:
            if trial.job.status not in ("Completed", "Stopped"):
                return None
            found = trial.job.metrics.get(self.metric)
        return None if found is None else found[0]

    def best(self) -> Trial | None:
        """The best of those that completed."""
        ended = [
            (value, -trial.number, trial)
            for trial in self.trials
            if trial.job.status == "Completed" and (value := self.value(trial)) is not None
        ]
        if not ended:
            return None
        ended.sort(key=lambda one: (one[0] if self.maximize else -one[0], one[1]))
        return ended[-1][2]


def _missing(name: str) -> ServiceError:
    return ServiceError(
        "ResourceNotFound", f"Amazon SageMaker can't find a tuning job with name: {name}. Specify another."
    )


class Tuning:
    """The tuning jobs of the account."""

    def __init__(self, account: Account, training: Training) -> None:
        self._account = account
        self._training = training
        self._jobs: Jobs[Job] = Jobs(
            account,
            "Hyperparameter tuning job names",
            "SageMaker HyperParameter Tuning Job State Change",
            _EVENT_FIELDS,
            _missing,
        )
        self._closing = threading.Event()

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "CreateHyperParameterTuningJob": self.create,
            "DescribeHyperParameterTuningJob": self.describe,
            "ListHyperParameterTuningJobs": self.list_jobs,
            "ListTrainingJobsForHyperParameterTuningJob": self.list_trials,
            "StopHyperParameterTuningJob": self.stop,
        }

    # -- API -------------------------------------------------------------------------------------------------------

    def create(self, parameters: dict[str, Any]) -> dict[str, Any]:
        name = parameters["HyperParameterTuningJobName"]
        tags = read_tags(parameters.get("Tags"))
        _assert_supported(parameters)
        _assert_limits(parameters["HyperParameterTuningJobConfig"]["ResourceLimits"])
        request = {key: value for key, value in parameters.items() if key != "Tags"}
        job = Job(request, arn("hyper-parameter-tuning-job", name), self._account.clock.now())
        ranges = ranges_of(job.config)
        _assert_ranges(ranges, job.static)
        metrics = job.request["TrainingJobDefinition"]["AlgorithmSpecification"].get("MetricDefinitions", [])
        if job.metric not in [one["Name"] for one in metrics]:
            raise invalid(f"The objective metric {job.metric} is none of the job's MetricDefinitions.")
        self._training.assert_acceptable(self._trial_request(job, f"{name}-001-00000000", {}))
        parents = [self._jobs.find(one) for one in parents_of(parameters)]
        _assert_parents(job, ranges, parents)
        thread = self._jobs.add(job, tags, lambda: self._run(job, parents))
        self._enter(job, "InProgress")
        thread.start()
        return {"HyperParameterTuningJobArn": job.arn}

    def describe(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._description(self._jobs.find(parameters["HyperParameterTuningJobName"]))

    def list_jobs(self, parameters: dict[str, Any]) -> dict[str, Any]:
        chosen, more = self._jobs.page(parameters, "Name", "Ascending")
        wanted = (
            "HyperParameterTuningJobName",
            "HyperParameterTuningJobArn",
            "HyperParameterTuningJobStatus",
            "CreationTime",
            "HyperParameterTuningEndTime",
            "LastModifiedTime",
            "TrainingJobStatusCounters",
            "ObjectiveStatusCounters",
        )
        summaries = [
            {key: value for key, value in self._description(job).items() if key in wanted}
            | {"Strategy": job.config["Strategy"], "ResourceLimits": job.config["ResourceLimits"]}
            for job in chosen
        ]
        return {"HyperParameterTuningJobSummaries": summaries, **more}

    def list_trials(self, parameters: dict[str, Any]) -> dict[str, Any]:
        job = self._jobs.find(parameters["HyperParameterTuningJobName"])
        with job.lock:
            trials = list(job.trials)
        trials = [one for one in trials if parameters.get("StatusEquals") in (None, one.job.status)]
        order = parameters.get("SortBy", "Name")
        if order == "FinalObjectiveMetricValue":  # those without one are left out (API reference)
            trials = [one for one in trials if job.value(one) is not None]
        orders: dict[str, Callable[[Trial], Any]] = {
            "Name": lambda one: one.job.name,
            "CreationTime": lambda one: (one.job.created, one.job.name),
            "Status": lambda one: (one.job.status, one.job.name),
            "FinalObjectiveMetricValue": lambda one: (job.value(one), one.job.name),
        }
        trials.sort(key=orders[order], reverse=parameters.get("SortOrder", "Ascending") == "Descending")
        chosen, more = page(trials, parameters, lambda one: one.job.name, default_size=10)
        return {"TrainingJobSummaries": [_summary(job, one) for one in chosen], **more}

    def stop(self, parameters: dict[str, Any]) -> dict[str, Any]:
        job = self._jobs.find(parameters["HyperParameterTuningJobName"])
        with job.lock:
            if job.status not in ("InProgress", "Stopping"):
                raise invalid(
                    f"The request was rejected because the hyperparameter tuning job is in status {job.status}."
                )
            if not job.stop.is_set():
                self._enter(job, "Stopping")
                job.stop.set()
        return {}

    def close(self) -> None:
        """Starts no further trials; those that run are training's to end."""
        self._closing.set()
        self._jobs.join()

    # -- what others see -------------------------------------------------------------------------------------------

    def _description(self, job: Job) -> dict[str, Any]:
        with job.lock:
            best = job.best()
            known: dict[str, Any] = {
                **job.request,
                "TrainingJobDefinition": {
                    **job.request["TrainingJobDefinition"],
                    "StaticHyperParameters": {**job.static, OBJECTIVE_HYPERPARAMETER: job.metric},
                },
                "HyperParameterTuningJobArn": job.arn,
                "HyperParameterTuningJobStatus": job.status,
                "CreationTime": job.created,
                "HyperParameterTuningEndTime": job.ended,
                "LastModifiedTime": job.modified,
                "FailureReason": job.failure_reason,
                "TrainingJobStatusCounters": _status_counters(job),
                "ObjectiveStatusCounters": _objective_counters(job),
                "BestTrainingJob": _summary(job, best) if best else None,
            }
            if job.request.get("WarmStartConfig", {}).get("WarmStartType") == "IdenticalDataAndAlgorithm":
                known["OverallBestTrainingJob"] = self._overall_best(job)
        return {name: value for name, value in known.items() if value is not None}

    def _overall_best(self, job: Job) -> dict[str, Any] | None:
        """Of the tuning job and its parents."""
        found = [(one, best) for one in (job, *map(self._jobs.find, parents_of(job.request))) if (best := one.best())]
        found.sort(key=lambda pair: (pair[0].value(pair[1]) or 0.0) * (1 if job.maximize else -1))
        return _summary(*found[-1]) | {"TuningJobName": found[-1][0].name} if found else None

    def _enter(self, job: Job, status: str) -> None:
        """The job's next state, for all to see."""
        with job.lock:
            job.status, job.modified = status, self._account.clock.now()
            if status in ENDED:
                job.ended = job.modified
            description = self._description(job)
            done = len(job.trials) - description["TrainingJobStatusCounters"]["InProgress"]
            message = (
                job.failure_reason or f"{done} of {job.config['ResourceLimits']['MaxNumberOfTrainingJobs']} trials"
            )
            self._jobs.tell(job, description, message, secondary_status=status)

    # -- the job's thread ------------------------------------------------------------------------------------------

    def _run(self, job: Job, parents: Sequence[Job]) -> None:
        try:
            study, distributions = _study(job, parents)
            most = job.config["ResourceLimits"]["MaxNumberOfTrainingJobs"]
            parallel = job.config["ResourceLimits"]["MaxParallelTrainingJobs"]
            while not self._closing.is_set():
                running = self._look(job, study)
                if job.stop.is_set():
                    for one in running:
                        self._stop_trial(one)
                    if not running:
                        return self._enter(job, "Stopped")
                elif len(running) < parallel and len(job.trials) < most:
                    self._launch(job, study, distributions, machines=parallel)
                    continue
                elif not running:
                    return self._finish(job)
                elif job.config.get("TrainingJobEarlyStoppingType", "Off") == "Auto":
                    for one in running:
                        if not one.stopped_early and is_hopeless(job, one):
                            one.stopped_early = True
                            self._stop_trial(one)
                self._closing.wait(LOOK_SECONDS)
        except Exception:
            if self._closing.is_set():
                return None
            # A defect of the laptop, not of the job: SageMaker's own words for one of its own, the details to the log.
            self._account.journal.record("job", job=job.name, status="Failed", error=traceback.format_exc())
            job.failure_reason = "InternalServerError: We encountered an internal error. Please try again."
            self._enter(job, "Failed")
        return None

    def _finish(self, job: Job) -> None:
        if all(one.job.status == "Failed" for one in job.trials):
            job.failure_reason = (
                "All training jobs failed. Please take a look at the training jobs failures to get more details."
            )
            self._enter(job, "Failed")
        else:
            self._enter(job, "Completed")

    def _look(self, job: Job, study: Study) -> list[Trial]:
        """The trials that still run; Optuna is told of those that have ended."""
        from optuna.trial import TrialState

        running = []
        for one in job.trials:
            if one.job.status not in ENDED:
                running.append(one)
            elif not one.told:
                one.told = True
                value = job.value(one)
                study.tell(one.number, value, state=TrialState.FAIL if value is None else TrialState.COMPLETE)
        return running

    def _launch(self, job: Job, study: Study, distributions: Mapping[str, BaseDistribution], machines: int) -> None:
        asked = study.ask(dict(distributions))
        kinds = {one["Name"]: one for one in ranges_of(job.config)}
        values = {name: _written(kinds[name], value) for name, value in asked.params.items()}
        name = f"{job.name}-{len(job.trials) + 1:03d}-{uuid.uuid4().hex[:8]}"
        tags = [{"Key": key, "Value": value} for key, value in self._account.tags.get(job.arn, {}).items()]
        trained = self._training.start(
            self._trial_request(job, name, values) | {"Tags": tags}, tuning_arn=job.arn, machines=machines
        )
        with job.lock:
            job.trials.append(Trial(asked.number, trained, values))
            job.modified = self._account.clock.now()

    def _trial_request(self, job: Job, name: str, values: Mapping[str, str]) -> dict[str, Any]:
        """CreateTrainingJob of a trial."""
        definition = job.request["TrainingJobDefinition"]
        return {
            "TrainingJobName": name,
            "HyperParameters": {**job.static, **values, OBJECTIVE_HYPERPARAMETER: job.metric},
            **{member: definition[member] for member in _OF_A_TRIAL if member in definition},
        }

    def _stop_trial(self, trial: Trial) -> None:
        try:
            self._training.stop({"TrainingJobName": trial.job.name})
        except ServiceError:
            return  # it ended a moment ago


def is_hopeless(job: Job, trial: Trial) -> bool:
    """Whether a running trial is worse than the median of the others' running averages up to the same epoch."""
    with trial.job.lock:
        values = list(trial.job.series.get(job.metric, ()))
    if len(values) < COMPARABLE_EPOCHS:
        return False
    averages = [
        statistics.fmean(other.job.series[job.metric][: len(values)])
        for other in job.trials
        if other.job.status == "Completed" and len(other.job.series.get(job.metric, ())) >= COMPARABLE_EPOCHS
    ]
    if len(averages) < COMPARABLE_TRIALS:
        return False
    median = statistics.median(averages)
    return values[-1] < median if job.maximize else values[-1] > median


# ------------------------------------------------------------------------------------------------------------------
# Ranges, and Optuna's way of saying them


def ranges_of(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """ParameterRanges as one list, each range with its Kind: Continuous, Integer or Categorical."""
    ranges = config.get("ParameterRanges", {})
    return [
        {**one, "Kind": kind}
        for kind in ("Continuous", "Integer", "Categorical")
        for one in ranges.get(f"{kind}ParameterRanges", [])
    ]


def _logarithmic(one: Mapping[str, Any]) -> bool:
    """Auto is SageMaker's choice; the laptop's is a log scale from a factor of ten on."""
    low, high = float(one["MinValue"]), float(one["MaxValue"])
    scale = one.get("ScalingType", "Auto")
    return scale == "Logarithmic" or (scale == "Auto" and low > 0 and high / low >= 10)


def _distribution(one: Mapping[str, Any]) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if one["Kind"] == "Categorical":
        return CategoricalDistribution(one["Values"])
    low, high = float(one["MinValue"]), float(one["MaxValue"])
    if one.get("ScalingType") == "ReverseLogarithmic":
        return FloatDistribution(1 - high, 1 - low, log=True)  # of what is missing to 1
    if one["Kind"] == "Integer":
        return IntDistribution(int(low), int(high), log=_logarithmic(one))
    return FloatDistribution(low, high, log=_logarithmic(one))


def _written(one: Mapping[str, Any], value: Any) -> str:
    """As a hyperparameter of a training job."""
    return str(1 - value if one.get("ScalingType") == "ReverseLogarithmic" else value)


def _read(one: Mapping[str, Any], text: str) -> Any:
    """The reverse of _written. Raises ValueError."""
    if one["Kind"] == "Categorical":
        return text
    if one.get("ScalingType") == "ReverseLogarithmic":
        return 1 - float(text)
    return int(float(text)) if one["Kind"] == "Integer" else float(text)


def _study(job: Job, parents: Iterable[Job]) -> tuple[Study, dict[str, BaseDistribution]]:
    """Optuna's view of the tuning, with all that its parents' trials have shown."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ranges = ranges_of(job.config)
    distributions = {one["Name"]: _distribution(one) for one in ranges}
    seed = job.config.get("RandomSeed")
    sampler: optuna.samplers.BaseSampler
    if job.config["Strategy"] == "Random":
        sampler = optuna.samplers.RandomSampler(seed)
    else:
        sampler = optuna.samplers.TPESampler(
            seed=seed,
            multivariate=True,
            constant_liar=True,  # trials that run count as known, so that two at a time are not the same
            n_startup_trials=max(2, job.config["ResourceLimits"]["MaxNumberOfTrainingJobs"] // 4),
        )
    study = optuna.create_study(sampler=sampler, direction="maximize" if job.maximize else "minimize")
    for parent in parents:
        for one in parent.trials:
            value, known = parent.value(one), {**parent.static, **one.values}
            try:
                values = {each["Name"]: _read(each, known[each["Name"]]) for each in ranges}
            except (KeyError, ValueError):
                continue  # it has no value of its own for what is tuned now
            inside = all(
                distributions[name]._contains(distributions[name].to_internal_repr(found))
                for name, found in values.items()
            )
            if value is not None and inside:
                study.add_trial(optuna.trial.create_trial(params=values, distributions=distributions, value=value))
    return study, distributions


# ------------------------------------------------------------------------------------------------------------------
# Refusals


def parents_of(request: Mapping[str, Any]) -> list[str]:
    parents = request.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", [])
    return [one["HyperParameterTuningJobName"] for one in parents]


def _assert_supported(parameters: Mapping[str, Any]) -> None:
    config = parameters["HyperParameterTuningJobConfig"]
    for name in ("TrainingJobDefinitions", "Autotune"):
        if name in parameters:
            raise invalid(f"The laptop tunes one TrainingJobDefinition by its own ranges; {name} needs AWS.")
    if config["Strategy"] not in ("Bayesian", "Random"):
        raise invalid(f"The laptop tunes by the strategies Bayesian and Random; {config['Strategy']} needs AWS.")
    if "TuningJobCompletionCriteria" in config:
        raise invalid("The laptop ends a tuning job after its last trial; TuningJobCompletionCriteria needs AWS.")
    if "TrainingJobDefinition" not in parameters or "HyperParameterTuningJobObjective" not in config:
        raise invalid("TrainingJobDefinition and HyperParameterTuningJobObjective are required.")
    definition = parameters["TrainingJobDefinition"]
    if "HyperParameterTuningResourceConfig" in definition or "ResourceConfig" not in definition:
        raise invalid("Give TrainingJobDefinition.ResourceConfig; the laptop knows no other instances.")


def _assert_limits(limits: Mapping[str, Any]) -> None:
    if "MaxNumberOfTrainingJobs" not in limits:
        raise invalid("ResourceLimits.MaxNumberOfTrainingJobs is required without completion criteria.")
    for member, most in (("MaxNumberOfTrainingJobs", MOST_JOBS), ("MaxParallelTrainingJobs", MOST_PARALLEL)):
        if limits[member] > most:
            raise ServiceError(
                "ResourceLimitExceeded",
                f"The account-level service limit '{member}' is {most}, with a request of {limits[member]}.",
            )
    if limits["MaxParallelTrainingJobs"] > limits["MaxNumberOfTrainingJobs"]:
        raise invalid("MaxParallelTrainingJobs can't be greater than MaxNumberOfTrainingJobs.")


def _assert_ranges(ranges: Sequence[Mapping[str, Any]], static: Mapping[str, str]) -> None:
    names = [one["Name"] for one in ranges]
    if not names:
        raise invalid("At least one parameter range is required.")
    if repeated := sorted({name for name in names if names.count(name) > 1} | (static.keys() & set(names))):
        raise invalid(f"Hyperparameters can't be given twice, as ranges or static: {', '.join(repeated)}.")
    for one in ranges:
        if one["Kind"] == "Categorical":
            continue
        try:
            low, high = float(one["MinValue"]), float(one["MaxValue"])
        except ValueError:
            raise invalid(f"The range of {one['Name']} has bounds that are no numbers.") from None
        if low >= high:
            raise invalid(f"The MinValue of {one['Name']} must be less than its MaxValue.")
        scale = one.get("ScalingType", "Auto")
        if scale == "Logarithmic" and low <= 0:
            raise invalid(f"Logarithmic scaling of {one['Name']} needs values greater than 0.")
        if scale == "ReverseLogarithmic" and not (low >= 0 and high < 1 and one["Kind"] == "Continuous"):
            raise invalid(f"ReverseLogarithmic scaling of {one['Name']} needs values from 0 to below 1.")


def _assert_parents(job: Job, ranges: Sequence[Mapping[str, Any]], parents: Sequence[Job]) -> None:
    """The restrictions of "Run a Warm Start Hyperparameter Tuning Job"."""
    kinds = {one["Name"]: one["Kind"] for one in ranges}
    trials = job.config["ResourceLimits"]["MaxNumberOfTrainingJobs"] + sum(len(parent.trials) for parent in parents)
    if parents and trials > MOST_WITH_PARENTS:
        raise ServiceError("ResourceLimitExceeded", f"With its parents' the tuning job has {trials} training jobs.")
    for parent in parents:
        theirs = {one["Name"]: one["Kind"] for one in ranges_of(parent.config)}
        if parent.status not in ENDED:
            raise invalid(f"The parent {parent.name} is {parent.status}; a parent must have ended.")
        if parent.metric != job.metric:
            raise invalid(f"The parent {parent.name} has another objective metric, {parent.metric}.")
        if len(job.static) + len(kinds) != len(parent.static) + len(theirs):
            raise invalid(f"The parent {parent.name} has another number of static and tunable hyperparameters.")
        if changed := sorted(name for name in kinds.keys() & theirs.keys() if kinds[name] != theirs[name]):
            raise invalid(f"The parent {parent.name} has other types of hyperparameters: {', '.join(changed)}.")
        changes = sum(2 for name in job.static.keys() & parent.static.keys() if job.static[name] != parent.static[name])
        changes += sum(len(one.get("Values", "1")) for one in ranges_of(parent.config) if one["Name"] in job.static)
        if changes > MOST_STATIC_CHANGES:
            raise invalid(f"{changes} changes of static hyperparameters since {parent.name} are more than 10.")


# ------------------------------------------------------------------------------------------------------------------
# Descriptions


def _summary(job: Job, trial: Trial) -> dict[str, Any]:
    """HyperParameterTrainingJobSummary."""
    trained = trial.job
    with trained.lock:
        value = job.value(trial)
        known = {
            "TrainingJobName": trained.name,
            "TrainingJobArn": trained.arn,
            "CreationTime": trained.created,
            "TrainingStartTime": trained.started,
            "TrainingEndTime": trained.ended,
            "TrainingJobStatus": trained.status,
            "TunedHyperParameters": dict(trial.values),
            "FailureReason": trained.failure_reason,
            "ObjectiveStatus": _objective_status(job, trial),
        }
    if value is not None:
        known["FinalHyperParameterTuningJobObjectiveMetric"] = {"MetricName": job.metric, "Value": value}
    return {name: found for name, found in known.items() if found is not None}


def _objective_status(job: Job, trial: Trial) -> str:
    if trial.job.status not in ENDED:
        return "Pending"
    return "Failed" if job.value(trial) is None else "Succeeded"


def _status_counters(job: Job) -> dict[str, int]:
    statuses = [one.job.status for one in job.trials]
    return {
        "Completed": statuses.count("Completed"),
        "InProgress": sum(1 for status in statuses if status not in ENDED),
        "RetryableError": 0,
        "NonRetryableError": statuses.count("Failed"),
        "Stopped": statuses.count("Stopped"),
    }


def _objective_counters(job: Job) -> dict[str, int]:
    statuses = [_objective_status(job, one) for one in job.trials]
    return {status: statuses.count(status) for status in ("Succeeded", "Pending", "Failed")}


def install(account: Account) -> None:
    """Registers hyperparameter tuning. After training, whose jobs its trials are."""
    tuning = Tuning(account, account.training)
    account.operations.setdefault("sagemaker", {}).update(tuning.operations())
    account.closers.append(tuning.close)
