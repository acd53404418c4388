"""All the platform can do to an account. Each decision carries its reason, a full sentence; aws.py applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlplatform.facts import ModelCard

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
class RejectDataset:
    """The drop can't be trained on; no job exists for it."""

    reason: str
    dataset: str
    version: str


@dataclass(frozen=True)
class DeployModel:
    """Register the model package, then create or update the dataset's endpoint with it."""

    reason: str
    dataset: str
    job_name: str
    model_package: Request  # CreateModelPackage
    model: Request  # CreateModel
    endpoint_config: Request  # CreateEndpointConfig
    endpoint: Request  # CreateEndpoint or UpdateEndpoint
    endpoint_tags: Mapping[str, str]  # put on an existing endpoint; a new one has them in its request
    exists: bool  # whether the endpoint exists: update instead of create
    card: ModelCard
    replace: bool = False  # the endpoint is past updating: delete it first
    deregister: Request | None = None  # DeregisterScalableTarget: the instance type changes, which scaling forbids


@dataclass(frozen=True)
class KeepLiveModel:
    """The new model is not better: it is registered as Rejected, and the endpoint is left alone."""

    reason: str
    dataset: str
    job_name: str
    model_package: Request
    card: ModelCard


@dataclass(frozen=True)
class FinishDeployment:
    """The endpoint was busy when its newest model was to be deployed; it no longer is."""

    reason: str
    endpoint: Request  # UpdateEndpoint
    deregister: Request | None = None


@dataclass(frozen=True)
class ConfigureAutoscaling:
    """Scalable target and policies of an endpoint that serves what it should."""

    reason: str
    endpoint_name: str
    target: Request  # RegisterScalableTarget
    policies: tuple[Request, ...]  # PutScalingPolicy


Decision = (
    Skip
    | Notify
    | StartTraining
    | RejectDataset
    | DeployModel
    | KeepLiveModel
    | FinishDeployment
    | ConfigureAutoscaling
)
