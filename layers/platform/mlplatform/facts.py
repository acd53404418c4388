"""All the platform can know. Frozen, plain, and free of AWS spellings: aws.py and events.py translate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

from mlplatform.records import dataclass

# Tags by which the platform knows its own resources and what they belong to; names.tags writes them.
STACK_TAG = "ml-platform:stack"
DATASET_TAG = "ml-platform:dataset"
# The production variant that an A/B test puts beside the live model's, which is names.VARIANT.
CHALLENGER = "Challenger"


class Task(StrEnum):
    """What the label asks for."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class JobStatus(StrEnum):
    """SageMaker's TrainingJobStatus."""

    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


class Approval(StrEnum):
    """SageMaker's ModelApprovalStatus."""

    APPROVED = "Approved"
    REJECTED = "Rejected"
    PENDING = "PendingManualApproval"


class HostingKind(StrEnum):
    """How SageMaker can host one model for single requests."""

    REAL_TIME = "real-time"
    SERVERLESS = "serverless"
    SCALE_TO_ZERO = "scale-to-zero"  # a model as an inference component, on instances that go when nobody asks
    ASYNCHRONOUS = "asynchronous"


@dataclass(frozen=True)
class StoredObject:
    """One object under `datasets/<dataset>/`."""

    key: str
    etag: str
    size_bytes: int
    last_modified: datetime

    @property
    def file_name(self) -> str:
        return self.key.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Sample:
    """The beginning of one data file, as stored (still compressed if it is)."""

    key: str
    content: bytes
    complete: bool  # False when the file goes on after `content`
    tail: bytes = b""  # of a Parquet file that goes on: its end, where it says what it is


@dataclass(frozen=True)
class Drop:
    """Everything known about one dataset at the moment its drop has settled."""

    dataset: str
    version: str  # names.dataset_version of the objects
    objects: tuple[StoredObject, ...]
    samples: tuple[Sample, ...]  # one per data file
    job_json: bytes | None  # the content of job.json, if there is one


@dataclass(frozen=True)
class Table:
    """How to read the dataset: the choices that the verdict explains and the training job obeys."""

    files: tuple[str, ...]  # keys, in the order train, validation, test; or the one file
    columns: tuple[str, ...]  # header names, or column_0, column_1, ...
    label_position: int  # counted from 0
    task: Task
    header: bool
    delimiter: str  # "comma", "semicolon", "tab" or "pipe"
    encoding: str  # "utf-8", "utf-16" or "latin-1"
    explanation: str  # full sentences: which label, task, encoding and delimiter were taken, and why


Scale = Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]  # SageMaker's ScalingType


@dataclass(frozen=True)
class Range:
    """Where a tuning looks for a hyperparameter: from `smallest` to `largest`, or among `values`."""

    name: str
    kind: Literal["Continuous", "Integer", "Categorical"]
    smallest: str = ""
    largest: str = ""
    scale: Scale = "Auto"
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class TuningSpec:
    """What job.json's "tuning" asks for; None where the stack's own setting is meant."""

    max_jobs: int = 20
    max_parallel_jobs: int = 2
    strategy: Literal["Bayesian", "Random"] = "Bayesian"
    early_stopping: bool = True
    objective: str = "validation:loss"
    ranges: tuple[Range, ...] = ()
    max_cost_usd: Decimal | None = None
    max_runtime_seconds: int | None = None  # of one trial
    warm_start: bool = True
    round: int = 1  # makes another job.json, and so another version, to tune the same data once more


@dataclass(frozen=True)
class JobSpec:
    """What job.json may ask for; a field is None when it does not say."""

    label: str | int | None = None
    task: Task | None = None
    algorithm: str = "pytorch"
    hyperparameters: Mapping[str, str] = field(default_factory=dict)
    instance_type: str | None = None
    instance_count: int = 1
    hosting: Mapping[str, Any] = field(default_factory=dict)
    pipeline: Mapping[str, str] | None = None  # parameters of the pipeline that is to run; None for a single job
    ask_approval: bool = False  # "approval": "manual"
    tuning: TuningSpec | None = None


@dataclass(frozen=True)
class TrainingJob:
    """A training job as DescribeTrainingJob tells it."""

    name: str
    arn: str
    status: JobStatus
    secondary_status: str
    failure_reason: str | None
    artifact_uri: str | None
    spot: bool
    max_wait_seconds: int | None
    training_seconds: int | None
    billable_seconds: int | None
    instance_type: str
    instance_count: int
    hyperparameters: Mapping[str, str]
    tags: Mapping[str, str]
    created: datetime | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)  # channel name -> S3 URI
    max_runtime_seconds: int | None = None
    ended: datetime | None = None
    image: str = ""
    tuning: str | None = None  # the name of the tuning job whose trial it is

    @property
    def dataset(self) -> str | None:
        """The dataset it trained on; None for a job that the platform did not start."""
        return self.tags.get(DATASET_TAG)


@dataclass(frozen=True)
class TuningJob:
    """A hyperparameter tuning job as SageMaker describes it, or as Search finds it."""

    name: str
    arn: str
    status: JobStatus
    failure_reason: str | None
    objective: str  # the metric's name
    maximize: bool
    jobs: int  # at most
    trials: Mapping[str, int]  # TrainingJobStatusCounters: Completed, InProgress, Stopped, NonRetryableError, ...
    best: str | None  # the name of the best trial that completed
    best_value: float | None
    best_values: Mapping[str, str]  # its tuned hyperparameters
    static: Mapping[str, str]  # hyperparameters that all trials share, without those that SageMaker adds
    ranges: Mapping[str, str]  # tuned hyperparameter -> Continuous, Integer or Categorical
    spot: bool
    tags: Mapping[str, str]
    created: datetime | None = None
    choices: Mapping[str, int] = field(default_factory=dict)  # categorical hyperparameter -> how many values

    @property
    def dataset(self) -> str | None:
        """The dataset that it tunes for; None for one that the platform did not start."""
        return self.tags.get(DATASET_TAG)

    @property
    def ended(self) -> bool:
        return self.status in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED}


@dataclass(frozen=True)
class ModelMetrics:
    """metrics.json of a model artifact: the new model and, on the same test rows, the live one."""

    task: Task
    objective: str  # "roc_auc" or "rmse"
    maximize: bool
    test: Mapping[str, float]
    live: Mapping[str, float] | None
    live_error: str | None  # why the live model could not be scored
    warnings: tuple[str, ...] = ()  # what the training found odd, for people
    doubts: tuple[str, ...] = ()  # of these, what makes its own score doubtful: a column that gives the label away
    choice: str = ""  # of several models that were trained: a sentence on which was taken, by how much, at what cost

    @property
    def score(self) -> float | None:
        """The objective on the test rows; None where the artifact does not tell."""
        return self.test.get(self.objective)

    @property
    def live_score(self) -> float | None:
        return (self.live or {}).get(self.objective)


@dataclass(frozen=True)
class ModelCard:
    """What a model artifact says about itself: read from model.tar.gz, kept beside the registered model."""

    metrics: ModelMetrics
    metrics_json: bytes
    sample_json: bytes  # {"request": <JSON body>, "response": <expected answer>}
    report_json: bytes = b""  # what the card's page shows; empty where the artifact is older, or has none that fits


@dataclass(frozen=True)
class UnreadableCard:
    """A model artifact that does not say what it is."""

    explanation: str  # a clause: what is missing or wrong


@dataclass(frozen=True)
class ModelPackage:
    """One numbered model of a dataset's group in the registry, as DescribeModelPackage tells it."""

    arn: str
    group: str
    version: int
    approval: Approval
    description: str
    image: str  # of its container, with what follows
    artifact_uri: str
    environment: Mapping[str, str]
    properties: Mapping[str, str]  # CustomerMetadataProperties, see registry.py
    created: datetime
    modified: datetime
    approval_description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)  # its group's


@dataclass(frozen=True)
class Prediction:
    """What came of asking an endpoint for the prediction that its model's card holds."""

    correct: bool
    explanation: str  # a clause: what was expected and what came


@dataclass(frozen=True)
class Variant:
    """A production variant of an endpoint: a model on instances of its own, with a share of the traffic."""

    name: str
    model_name: str | None
    instance_type: str | None
    instance_count: int | None  # now
    weight: float | None  # its share is that of the sum of all variants' weights


@dataclass(frozen=True)
class Component:
    """The inference component of an endpoint that scales to zero, as DescribeInferenceComponent tells it."""

    status: str  # SageMaker's InferenceComponentStatus: InService, Creating, Updating, Failed or Deleting
    model_name: str | None
    copies: int  # that serve now
    arn: str = ""
    failure_reason: str | None = None


@dataclass(frozen=True)
class Traffic:
    """What CloudWatch has of an endpoint, hour by hour."""

    requests_per_hour: tuple[Decimal, ...]  # of the hours in which it ran
    model_seconds: Decimal | None  # the average of its requests
    overhead_seconds: Decimal | None  # None as well where the kind's own contains cold starts
    memory_percent: Decimal | None  # at most, of an instance's, a serverless variant's or what a copy reserves
    setup_seconds: Decimal | None = None  # the average of a serverless one's cold starts


@dataclass(frozen=True)
class Unasked:
    """An endpoint in service was not asked for a prediction, or has not answered yet, which is nothing wrong."""

    why: str  # a clause


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as DescribeEndpoint and its config tell it; of several variants, what is told is the live model's."""

    name: str
    arn: str
    status: str  # SageMaker's EndpointStatus: InService, Creating, Updating, Failed, ...
    config_name: str | None
    failure_reason: str | None
    variant_name: str | None
    instance_type: str | None
    instance_count: int | None
    model_name: str | None
    artifact_uri: str | None  # the live model's ModelDataUrl
    tags: Mapping[str, str]
    created: datetime | None = None
    modified: datetime | None = None
    counts: Mapping[str, int | None] = field(default_factory=dict)  # each variant's instances now
    pending_config: str | None = None  # that it is being updated to
    running_types: tuple[str, ...] = ()  # that its instances are of; the config alone tells where it names one type
    kind: HostingKind = HostingKind.REAL_TIME  # of the config that it runs
    memory_gb: int | None = None  # of a serverless one
    max_concurrency: int | None = None  # the same
    component: Component | None = None  # of one that scales to zero, once it is made
    variants: tuple[Variant, ...] = ()  # of its config, all of them

    @property
    def busy(self) -> bool:
        """Whether SageMaker refuses an update now (EndpointStatus, DescribeEndpoint in the SageMaker API reference)."""
        return self.status in {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}

    @property
    def challenger(self) -> Variant | None:
        """The other model of an A/B test, where one runs."""
        return next((one for one in self.variants if one.name == CHALLENGER), None)

    @property
    def dead(self) -> bool:
        """Whether deleting it is all that can still be done with it (same page)."""
        return self.status in {"Failed", "UpdateRollbackFailed"}


@dataclass(frozen=True)
class Parked:
    """What a stopped endpoint needs to come back exactly as it was; kept in tags of its config and nowhere else."""

    endpoint: str
    config: str
    since: datetime
    tags: Mapping[str, str]  # the endpoint's
    variants: tuple[Mapping[str, Any], ...]  # VariantName, InstanceType, and DesiredInstanceCount, DesiredWeight
    targets: tuple[Mapping[str, Any], ...] = ()  # RegisterScalableTarget
    policies: tuple[Mapping[str, Any], ...] = ()  # PutScalingPolicy
    scheduled_actions: tuple[Mapping[str, Any], ...] = ()  # PutScheduledAction
    alarms: tuple[str, ...] = ()  # names of the alarms whose actions were switched off


@dataclass(frozen=True)
class Serving:
    """What serves a dataset, or is to serve it again: the one reading of it for trainings, releases and A/B tests."""

    endpoint: Endpoint  # of a parked one, what it will come back as
    parked: Parked | None = None
    standing_in: bool = False  # the endpoint is being made anew: this is what stands in for it, see moving.py


@dataclass(frozen=True)
class HostedEndpoint:
    """An endpoint that runs or is parked, as the lists of an account tell it: no call was made for it alone."""

    name: str
    status: str | None  # SageMaker's EndpointStatus; None where there is only its parked config
    created: datetime | None
    tags: Mapping[str, str]  # the endpoint's; of a parked one those that it will come back with
    parked: Parked | None = None
    unreadable: str = ""  # why the parked record of its config can't be read
    modified: datetime | None = None  # when its status changed last


@dataclass(frozen=True)
class DatasetArrived:
    """An object was created under `datasets/`."""

    bucket: str
    key: str  # as S3 knows it: EventBridge does not encode keys
    etag: str
    size_bytes: int

    @property
    def marker(self) -> bool:
        """The console's "create folder" makes an empty object whose key ends in a slash."""
        return self.key.endswith("/") and self.size_bytes == 0

    @property
    def dataset(self) -> str:
        """The first folder below `datasets/`, or the file's name where there is none. Not checked."""
        return self.key.split("/", 2)[1] if "/" in self.key else self.key

    @property
    def prefix(self) -> str:
        """Where the objects of the same drop lie."""
        folder, slash, _ = self.key.removeprefix("datasets/").partition("/")
        return f"datasets/{folder}{slash}"


@dataclass(frozen=True)
class TrainingEnded:
    """A training job reached Completed, Failed or Stopped, says an event that may be late or come again."""

    job_name: str
    status: JobStatus


@dataclass(frozen=True)
class TuningEnded:
    """A tuning job reached Completed, Failed or Stopped, says an event that may be late or come again."""

    tuning_name: str
    status: str


@dataclass(frozen=True)
class Ended:
    """A job or an execution of the stack that ended, whether an event told of it or not."""

    event: TrainingEnded | TuningEnded | PipelineEnded  # as it should have been told
    name: str
    outcomes: tuple[str, ...]  # objects in the artifact bucket, one of which is there when it was dealt with


@dataclass(frozen=True)
class PackageChanged:
    """A model package was made or changed, says an event that may be late or come again."""

    arn: str
    group: str
    version: int
    approval: Approval
    new: bool  # it was just registered
    fields: tuple[str, ...] | None  # what was changed; None for a new package, or where the event does not say
    stamp: str  # tells this change of the package from its others, and is the same when the event comes again


@dataclass(frozen=True)
class AbTestAsked:
    """A person starts, changes or ends an A/B test on a dataset's endpoint."""

    dataset: str
    action: Literal["start", "weigh", "drop"]
    package: str  # the ARN of the challenger's; empty but for "start"
    weight: float  # the challenger's share of the traffic that is asked for; 0 for "drop"


@dataclass(frozen=True)
class PipelineAsked:
    """A person starts a pipeline for the data that a dataset has now."""

    dataset: str
    parameters: Mapping[str, Any]
    stamp: str  # tells this start from others, and is the same when the request comes again


@dataclass(frozen=True)
class PipelineEnded:
    """An execution of a pipeline reached Succeeded, Failed or Stopped, says an event that may be late or come again."""

    execution_arn: str
    status: str


@dataclass(frozen=True)
class PipelineStep:
    """One step of an execution, as ListPipelineExecutionSteps tells it."""

    name: str
    kind: str  # the member of its Metadata: ProcessingJob, TrainingJob, Condition, RegisterModel, Fail; or nothing yet
    status: str  # Starting, Executing, Stopping, Stopped, Failed or Succeeded
    arn: str  # of its job or of its model package, where it has one
    failure_reason: str | None
    cached: bool  # an earlier execution's job stands for it

    @property
    def job_name(self) -> str:
        return self.arn.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class PipelineRun:
    """An execution of a pipeline, its steps in the order of their starts, and the parameters that it was given."""

    arn: str
    pipeline: str
    name: str  # its display name
    status: str
    failure_reason: str | None
    created: datetime
    steps: tuple[PipelineStep, ...]
    parameters: Mapping[str, str]

    @property
    def failed(self) -> PipelineStep | None:
        """The first step that failed."""
        return next((step for step in self.steps if step.status == "Failed"), None)

    def ours(self, stack: str) -> bool:
        """Whether it is an execution of a pipeline of the stack, for a dataset of it."""
        return self.pipeline.startswith(f"{stack}-") and bool(self.parameters.get("Dataset"))


@dataclass(frozen=True)
class EndpointChanged:
    """An endpoint's status changed, says an event that may be late or come again."""

    endpoint_name: str
    status: str  # spelled as in the API: InService


# ---- the report of costs ----


@dataclass(frozen=True)
class CostLine:
    """What one service cost on one day (a UTC day, as Cost Explorer counts), by kind of charge."""

    day: date
    service: str
    record_type: str  # Cost Explorer's RECORD_TYPE: Usage, Tax, Credit, Refund, ...
    amount: Decimal  # negative where AWS gives something back
    currency: str
    estimated: bool = False


@dataclass(frozen=True)
class TaggedCost:
    """What carries one pair of tags on one day; without tax, credits and refunds. Empty text: not tagged."""

    day: date
    project: str
    dataset: str
    amount: Decimal
    currency: str


@dataclass(frozen=True)
class Forecast:
    """What Cost Explorer expects for the days from `start`, up to and with the last one of the month."""

    start: date
    amount: Decimal
    currency: str


@dataclass(frozen=True)
class JobRun:
    """A training job that ended, as far as its price goes."""

    name: str
    instance_type: str
    instance_count: int
    training_seconds: int
    billable_seconds: int
    spot: bool
    ended: datetime


@dataclass(frozen=True)
class EndpointBirth:
    """An endpoint that is there now, and since when."""

    name: str
    dataset: str
    created: datetime


@dataclass(frozen=True)
class CostFacts:
    """Everything that a report is made of. None, and a sentence in `missing`, for what could not be read."""

    today: date  # UTC; the report is about the days before it
    lines: tuple[CostLine, ...] | None = None  # from the first of last month to yesterday
    tagged: tuple[TaggedCost, ...] | None = None  # the same days
    forecast: Forecast | None = None
    forecast_note: str = ""  # why there is no forecast, a sentence
    jobs: tuple[JobRun, ...] = ()  # ended in the reported month, up to yesterday
    endpoints: tuple[EndpointBirth, ...] = ()
    predictions: Mapping[str, int] = field(default_factory=dict)  # by dataset, in the month up to yesterday
    savings: tuple[Saving, ...] = ()  # of the reported month
    missing: tuple[str, ...] = ()  # full sentences
    requests: int = 0  # Cost Explorer requests of this UTC day that AWS bills


# ---- savings ----

SavingKind = Literal["spot", "night", "scale-in", "serverless", "scale-to-zero"]


@dataclass(frozen=True)
class Saving:
    """One entry of the ledger; ledger.entry makes it."""

    kind: SavingKind
    key: str  # on what it was saved: the ARN of a job, an endpoint's night
    usd: Decimal
    formula: str  # with its numbers, so that anybody can check it
    at: datetime  # UTC; its month is the entry's month
    dataset: str | None


# ---- what costs money now ----

InstanceUse = Literal["hosting", "training", "processing", "notebook"]


@dataclass(frozen=True)
class Run:
    """Something that costs money for as long as it runs: an endpoint, a job or a notebook instance."""

    key: str  # ARN and start: an endpoint that was deleted and made anew is another run
    use: InstanceUse
    name: str
    tags: Mapping[str, str]
    started: datetime | None  # None while no instance has been started
    ended: datetime | None
    fleet: tuple[tuple[str, int], ...]  # instance types and how many of each there are now
    billable_seconds: int | None = None  # of a job that ended
    spot: bool = False
    # of a serverless endpoint: UTC day of the month -> seconds that its requests took, times its memory in GB
    gb_seconds: Mapping[str, Decimal] | None = None

    @property
    def job(self) -> bool:
        """Whether it ends by itself, and then says for how long it is billed."""
        return self.use in {"training", "processing"}


@dataclass(frozen=True)
class Hold:
    """New launches are refused: spend/hold.json."""

    period: str  # the day (2026-11-23) or the month (2026-11) that it is for, UTC
    reason: str  # a full sentence
    since: datetime


@dataclass(frozen=True)
class Metered:
    """What one run has cost in a month so far."""

    use: InstanceUse
    name: str
    tags: Mapping[str, str]
    days: Mapping[str, Decimal]  # UTC day -> US dollars
    through: datetime  # up to when it has been counted
    final: bool = False  # it has ended, and this is what it cost
    estimate: bool = False  # more than it may turn out to be: a spot job's discount is known at its end
    # of an endpoint: UTC day -> USD an hour of the fleet -> seconds with that fleet
    fleets: Mapping[str, Mapping[Decimal, Decimal]] = field(default_factory=dict)


@dataclass(frozen=True)
class SpendMonth:
    """What the runs of one month have cost so far: spend/<yyyy-mm>.json."""

    month: str  # yyyy-mm, UTC
    through: datetime | None = None  # the last tick
    items: Mapping[str, Metered] = field(default_factory=dict)  # by Run.key
    # endpoint config -> (variant, instance type): configs never change, so each is looked up once
    configs: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    unpriced: tuple[str, ...] = ()  # what runs without a price, full sentences: the sums lack it


@dataclass(frozen=True)
class SpendFacts:
    """What a tick of the meter knows."""

    now: datetime
    month: SpendMonth
    previous: SpendMonth | None  # last month, where it has not been counted to its end
    runs: tuple[Run, ...]
    hold: Hold | None
    resumed: frozenset[str] = frozenset()  # periods for which people have lifted the hold


# ---- what functions made ----

OwnedKind = Literal[
    "tuning-job",
    "pipeline-execution",
    "training-job",
    "component-scaling",
    "inference-component",
    "endpoint",
    "scaling-target",
    "endpoint-config",
    "model",
    "model-package",
    "model-package-group",
    "log-group",
    "alarm",
    "parameter",
]


@dataclass(frozen=True)
class Owned:
    """Something that a function of the stack made, and that is there."""

    kind: OwnedKind
    name: str  # by which AWS ends it: a name, an ARN, or a resource id
    state: str = ""  # AWS's status of a job or an endpoint, a package's approval
    arn: str = ""
    created: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    about: str = ""  # the endpoint that a log, an alarm or a scaling target is of; a package's group
    description: str = ""  # a package's


@dataclass(frozen=True)
class Ticking:
    """A function that a schedule is to call."""

    function: str  # without the stack's name
    state: str | None = None  # Scheduler's ENABLED or DISABLED; None where there is no such schedule
    changed: datetime | None = None  # when the schedule was made or changed last
    last_run: datetime | None = None  # to five minutes, of the last two days


OtherKind = Literal["endpoint", "notebook-instance", "training-job", "processing-job", "transform-job", "bucket"]


@dataclass(frozen=True)
class Other:
    """Something in the account and region that may cost money, whoever made it."""

    kind: OtherKind
    name: str
    arn: str
    created: datetime
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Maker:
    """Who called the API that made something, as CloudTrail tells it."""

    said: str  # "alice", "the role deploy in the session build-42", ...
    person: str = ""  # a name that may stand for a person; empty for a service, root, or a role of programs


@dataclass(frozen=True)
class Makers:
    """What CloudTrail told, by the ARN of what was made."""

    by_arn: Mapping[str, Maker] = field(default_factory=dict)
    not_asked: str = ""  # why it was asked about none, or not about all
