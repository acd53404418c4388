"""All the platform can do to an account. Each decision carries its reason, a full sentence; aws.py applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any

from mlplatform.facts import Hold, ModelCard, OwnedKind, Parked, Saving
from mlplatform.records import dataclass

Request = Mapping[str, Any]  # the parameters of one AWS call, built pure and held against the service model in tests


@dataclass(frozen=True)
class Skip:
    """Nothing to do."""

    reason: str


@dataclass(frozen=True)
class Notify:
    """Only people need to know."""

    reason: str
    subject: str
    once: str = ""  # key in the artifact bucket that remembers this notice: events come more than once
    routine: bool = False  # nothing is wrong: it is told as information, not as a warning


@dataclass(frozen=True)
class StartTraining:
    """One managed spot training job for one dataset version."""

    reason: str
    dataset: str
    version: str
    job_name: str
    explanation: str  # how the data is read, for the verdict
    manifest: str  # the JSON text written to names.manifest_key before the job is created
    request: Request  # CreateTrainingJob


@dataclass(frozen=True)
class StartTuning:
    """One hyperparameter tuning job for one dataset version; its trials run on managed spot."""

    reason: str
    dataset: str
    version: str
    job_name: str  # the tuning job's
    explanation: str  # how the data is read, and how it is tuned, for the verdict
    manifest: str  # as of StartTraining
    request: Request  # CreateHyperParameterTuningJob
    warm_start: bool = True  # whether it may start from what earlier tunings of the dataset found


@dataclass(frozen=True)
class StopTuning:
    """A tuning job has cost what it may: it is stopped, and its best trial so far goes on."""

    reason: str
    tuning_name: str


@dataclass(frozen=True)
class StartPipeline:
    """One execution of one of the stack's pipelines for one dataset version."""

    reason: str
    dataset: str
    version: str
    job_name: str  # the execution's display name, and its model's
    explanation: str  # as of StartTraining
    manifest: str  # the same
    group: Request  # CreateModelPackageGroup: the group that its model is registered in
    request: Request  # StartPipelineExecution
    verdict: bool = True  # whether the version gets its verdict with it; not where a person starts it again


@dataclass(frozen=True)
class RejectDataset:
    """The drop can't be trained on; no job exists for it."""

    reason: str
    dataset: str
    version: str


@dataclass(frozen=True)
class CardPage:
    """A model's card for people, and where they find it."""

    key: str  # in the artifact bucket
    html: str
    link: str  # gives no access by itself


@dataclass(frozen=True)
class DeployModel:
    """Create or update the dataset's endpoint with a model, which is registered first if it is not yet."""

    reason: str
    dataset: str
    job_name: str  # also the name of the model and of its config; of a package of others it is made from its number
    model_package: Request | None  # CreateModelPackage; None where the model is registered already
    model: Request  # CreateModel
    endpoint_config: Request  # CreateEndpointConfig
    endpoint: Request  # CreateEndpoint or UpdateEndpoint
    endpoint_tags: Mapping[str, str]  # put on an existing endpoint; a new one has them in its request
    exists: bool  # whether the endpoint exists: update instead of create
    card: ModelCard | None
    asks: str = ""  # the model of its next update: where an A/B test has to end first, the live one
    replace: bool = False  # the endpoint is past updating: delete it first
    has_component: bool = False  # and before it its inference component
    move: StartMove | None = None  # the endpoint is of another kind: in place of an update
    deregister: Request | None = None  # DeregisterScalableTarget: the instance type changes, which scaling forbids
    component: Request | None = None  # UpdateInferenceComponent, of an endpoint that scales to zero
    parked: Parked | None = None  # the endpoint is parked: nothing starts, and its record goes to the new config
    difference: tuple[str, ...] = ()  # what changes for people: sentences
    package: str = ""  # the package's ARN, once there is one
    release: str = ""  # key in the artifact bucket that remembers that an approval was acted upon
    update: Request | None = None  # UpdateModelPackage: what the gate found, of what something else registered
    page: CardPage | None = None
    alarms: tuple[Request, ...] = ()  # PutMetricAlarm: what an update is rolled back by


@dataclass(frozen=True)
class KeepLiveModel:
    """The new model is not better: it is registered as Rejected, and the endpoint is left alone."""

    reason: str
    dataset: str
    job_name: str
    model_package: Request | None  # CreateModelPackage; None where it is registered already
    card: ModelCard
    package: str = ""
    page: CardPage | None = None
    update: Request | None = None  # UpdateModelPackage, which rejects what something else registered
    release: str = ""  # as in DeployModel


@dataclass(frozen=True)
class AskApproval:
    """The model is good, but a person decides: it is registered as PendingManualApproval, and people are asked."""

    reason: str
    dataset: str
    job_name: str
    model_package: Request | None  # CreateModelPackage; None where it is registered already
    card: ModelCard | None
    difference: tuple[str, ...] = ()
    package: str = ""  # the package's ARN, once there is one
    update: Request | None = None  # UpdateModelPackage: it was registered as Approved by something that did not ask
    release: str = ""  # as in DeployModel
    page: CardPage | None = None


@dataclass(frozen=True)
class FinishDeployment:
    """The endpoint was busy when its newest model was to be deployed; it no longer is."""

    reason: str
    endpoint: Request  # UpdateEndpoint
    model: str  # that it is updated to
    deregister: Request | None = None
    component: Request | None = None  # as in DeployModel
    alarms: tuple[Request, ...] = ()  # as in DeployModel


@dataclass(frozen=True)
class MakeComponent:
    """An endpoint that scales to zero is in service and has no model yet: it gets it as an inference component."""

    reason: str
    endpoint_name: str
    component: Request  # CreateInferenceComponent
    replaces: bool = False  # one that failed, which is deleted first


@dataclass(frozen=True)
class Refuse:
    """What a person asked for can't be done; nothing was changed."""

    reason: str


@dataclass(frozen=True)
class StartAbTest:
    """A second model, the challenger, comes to the endpoint beside the live one; at first without any traffic."""

    reason: str
    dataset: str
    job_name: str  # also the name of the challenger's model
    card: ModelCard  # the challenger's
    model: Request  # CreateModel
    endpoint_config: Request  # CreateEndpointConfig
    endpoint: Request  # UpdateEndpoint
    endpoint_tags: Mapping[str, str]  # what is to run, for an endpoint that is busy now


@dataclass(frozen=True)
class ShareTraffic:
    """The challenger gets its share of the traffic, or first the instances for it."""

    reason: str
    endpoint_name: str
    capacity: Request | None  # UpdateEndpointWeightsAndCapacities; None while the endpoint is busy
    endpoint_tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EndAbTest:
    """The challenger goes, and the live model serves alone."""

    reason: str
    endpoint_name: str
    endpoint: Request | None  # UpdateEndpoint; None where it never came to be there
    model: str  # that stays
    deregister: Request | None  # DeregisterScalableTarget: of a variant that is to go
    endpoint_tags: Mapping[str, str]
    good: bool = True  # it was asked for; otherwise something went wrong


@dataclass(frozen=True)
class ChangeInPlace:
    """An endpoint becomes another kind by an update."""

    reason: str
    endpoint_name: str
    endpoint_config: Request  # CreateEndpointConfig
    endpoint: Request  # UpdateEndpoint
    model: str  # that it serves then
    endpoint_tags: Mapping[str, str]
    once: str  # as in Notify


@dataclass(frozen=True)
class StartMove:
    """An endpoint is to become another kind, which no update does: one of that kind is made to stand in for it."""

    reason: str
    endpoint_name: str
    endpoint_config: Request  # CreateEndpointConfig
    endpoint: Request  # CreateEndpoint: the stand-in
    endpoint_tags: Mapping[str, str]  # of the endpoint that moves
    once: str  # as in Notify; unused where a deployment moves it, whose own message says so


@dataclass(frozen=True)
class SwitchOver:
    """The stand-in has proven itself: the endpoint is deleted, and made anew of the new kind."""

    reason: str
    endpoint_name: str
    deletes: bool  # whether there is still something to delete
    has_component: bool  # that has to go before it
    endpoint: Request  # CreateEndpoint
    once: str  # as in Notify


@dataclass(frozen=True)
class RetireStandIn:
    """The endpoint is of the new kind and in service, and nobody calls what stood in for it."""

    reason: str
    endpoint_name: str  # the stand-in's
    has_component: bool
    once: str  # as in Notify


@dataclass(frozen=True)
class AbandonMove:
    """An endpoint does not become what it was to be, and stays what it is."""

    reason: str
    endpoint_name: str
    stand_in: str  # that goes; empty where there is none
    has_component: bool  # of the stand-in
    endpoint_tags: Mapping[str, str]  # of the endpoint, as they were before
    once: str  # as in Notify; empty where people need not know


@dataclass(frozen=True)
class RejectUpdate:
    """The new fleet of an update answers wrongly: SageMaker is told by the alarm that it watches, and goes back."""

    reason: str
    endpoint_name: str
    metric: Request  # PutMetricData
    once: str  # as in Notify


@dataclass(frozen=True)
class ConfigureAutoscaling:
    """Scalable target, policies and alarms of an endpoint that serves what it should."""

    reason: str
    endpoint_name: str
    target: Request  # RegisterScalableTarget; empty where its instances can't be scaled
    policies: tuple[Request, ...]  # PutScalingPolicy
    unwanted: tuple[str, ...] = ()  # names of policies that the platform may have put earlier
    endpoint_tags: Mapping[str, str] = field(default_factory=dict)  # the bounds, where they are newly the platform's
    alarms: tuple[Request, ...] = ()  # PutMetricAlarm
    ended: tuple[str, ...] = ()  # names of alarms that only an update needed, which is over
    wake: Request | None = None  # PutMetricAlarm without its action, which is the last of the policies
    # Of the endpoint, written last: what was begun there, of whose end no event tells, is over.
    last_tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StopEndpoint:
    """The endpoint is closed: it is parked, which means that its config remembers how it was, and deleted."""

    reason: str
    endpoint_name: str
    at: datetime


@dataclass(frozen=True)
class StartEndpoint:
    """A parked endpoint opens: it is created again. What it needs besides follows when it is in service."""

    reason: str
    endpoint_name: str
    endpoint: Request  # CreateEndpoint


@dataclass(frozen=True)
class ClearFailedStart:
    """A parked endpoint did not come into service; it is deleted, and created again at the next tick if it is open."""

    reason: str
    endpoint_name: str


@dataclass(frozen=True)
class RestoreCapacity:
    """A parked endpoint is back in service with its config's instances; it gets those that it had."""

    reason: str
    endpoint_name: str
    capacity: Request  # UpdateEndpointWeightsAndCapacities


@dataclass(frozen=True)
class RestoreEndpoint:
    """A parked endpoint serves again: its scaling and alarms come back, and its parking is over."""

    reason: str
    endpoint_name: str
    config_arn: str
    parked: Parked
    good: bool  # whether it answers as it should, with the instances that it had
    saving: Saving | None = None  # what the time off saved, where there is a price for it


@dataclass(frozen=True)
class ForgetParking:
    """A newer model was deployed while the endpoint was parked, so that there is nothing to come back to."""

    reason: str
    endpoint_arn: str
    endpoint_tags: Mapping[str, str]  # wishes of people that the new endpoint lacks
    config_arn: str
    alarms: tuple[str, ...]


@dataclass(frozen=True)
class RecordSaving:
    """One entry of the savings ledger, written once."""

    reason: str
    saving: Saving


@dataclass(frozen=True)
class RecordLineage:
    """What a pipeline's model was trained with and for how much, written on its package."""

    reason: str
    update: Request  # UpdateModelPackage
    done: str  # in the artifact bucket: remembers it


@dataclass(frozen=True)
class RecordSpend:
    """What the runs of a month have cost so far, kept and published."""

    reason: str
    key: str  # in the artifact bucket
    document: Mapping[str, Any]
    metrics: tuple[Request, ...]  # PutMetricData


@dataclass(frozen=True)
class HoldLaunches:
    """A ceiling is reached: new launches are refused."""

    reason: str
    hold: Hold


@dataclass(frozen=True)
class LiftHold:
    """New launches are allowed again."""

    reason: str
    period: str


@dataclass(frozen=True)
class HoldDataset:
    """The drop could be trained on, but launches are held; its version stays open, and no job exists for it."""

    reason: str
    dataset: str
    version: str
    period: str  # the hold's


@dataclass(frozen=True)
class ReportCosts:
    """The morning's report: its page and its numbers are stored, and people are told."""

    reason: str
    page_key: str
    page: str  # HTML
    numbers_key: str
    numbers: str  # JSON
    subject: str
    text: str
    blocks: tuple[Mapping[str, Any], ...]  # for Slack


@dataclass(frozen=True)
class ActivateCostTags:
    """Tell billing to tell costs apart by these tags; `done_key` remembers that none is left."""

    reason: str
    keys: tuple[str, ...]
    done_key: str | None


@dataclass(frozen=True)
class EndResource:
    """Stop or delete one thing that a function made: the stack goes, or nothing needs it any more."""

    reason: str
    kind: OwnedKind
    name: str


@dataclass(frozen=True)
class WarnOfEnd:
    """Tell people that an endpoint ends, and remember on which day."""

    reason: str
    endpoint_name: str
    config_arn: str
    tags: Mapping[str, str]  # of the config: the day, and that its eve was told of


@dataclass(frozen=True)
class EndEndpoint:
    """An endpoint goes because of its age, running or parked; its model stays in the registry."""

    reason: str
    endpoint_name: str
    running: bool
    config_arn: str
    alarms: tuple[str, ...]  # that are switched off while it is parked
    has_component: bool = False  # that has to go first


@dataclass(frozen=True)
class TagResource:
    """Set tags of something that a function made."""

    reason: str
    kind: OwnedKind
    arn: str
    tags: Mapping[str, str]


@dataclass(frozen=True)
class ReportUntagged:
    """Something that the platform did not make lacks required tags. It is told, and never touched."""

    reason: str
    arn: str


Decision = (
    Skip
    | Notify
    | StartTraining
    | StartPipeline
    | StartTuning
    | StopTuning
    | RejectDataset
    | DeployModel
    | KeepLiveModel
    | AskApproval
    | FinishDeployment
    | MakeComponent
    | ChangeInPlace
    | StartMove
    | SwitchOver
    | RetireStandIn
    | AbandonMove
    | Refuse
    | StartAbTest
    | ShareTraffic
    | EndAbTest
    | RejectUpdate
    | ConfigureAutoscaling
    | StopEndpoint
    | StartEndpoint
    | ClearFailedStart
    | RestoreCapacity
    | RestoreEndpoint
    | ForgetParking
    | RecordSaving
    | RecordLineage
    | RecordSpend
    | HoldLaunches
    | LiftHold
    | HoldDataset
    | ReportCosts
    | ActivateCostTags
    | EndResource
    | WarnOfEnd
    | EndEndpoint
    | TagResource
    | ReportUntagged
)
