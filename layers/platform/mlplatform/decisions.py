"""All the platform can do to an account. Each decision carries its reason, a full sentence; aws.py applies them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class StartTraining:
    """One managed spot training job for one dataset version."""

    reason: str
    dataset: str
    version: str
    job_name: str
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
    exists: bool  # whether the endpoint exists: update instead of create


@dataclass(frozen=True)
class KeepLiveModel:
    """The new model is not better: it is registered as Rejected, and the endpoint is left alone."""

    reason: str
    dataset: str
    job_name: str
    model_package: Request


@dataclass(frozen=True)
class ConfigureAutoscaling:
    """Scalable target and policies of an endpoint that serves what it should."""

    reason: str
    endpoint_name: str
    target: Request  # RegisterScalableTarget
    policies: tuple[Request, ...]  # PutScalingPolicy


Decision = Skip | Notify | StartTraining | RejectDataset | DeployModel | KeepLiveModel | ConfigureAutoscaling
