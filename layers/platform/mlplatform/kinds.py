"""How a model is hosted: what job.json wishes, as requests of SageMaker's. Pure.

What AWS allows, and where it says so (SageMaker developer guide unless named otherwise):

- Serverless has no GPU, no VPC and one variant; 1 to 6 GB in whole ones, and at most 200 requests at a time ("Deploy
  models with Amazon SageMaker Serverless Inference"; ProductionVariantServerlessConfig, API reference). "You cannot
  convert your instance-based, real-time endpoint to a serverless endpoint": a ValidationError. A serverless one becomes
  real-time in place, and there is no way back (same page, "Feature exclusions").
- What is asynchronous stays so: "The AsyncInferenceConfig parameter cannot be removed from this endpoint" (in the words
  of the service, github.com/aws/sagemaker-python-sdk/pull/3124). Nor does an endpoint that was made with a model take
  inference components: "Inference Components are not supported in this Endpoint" (the same,
  github.com/hashicorp/terraform-provider-aws/issues/40644).
- An asynchronous endpoint tells of what is done by SNS where it is asked to. It is not: each input that a model refuses
  would be an alert to people, and callers find its failure in S3.
- Deployment guardrails, which are canaries, alarms and rollback, are for real-time and asynchronous endpoints
  ("Deployment guardrails for updating models in production"); an update of an inference component may roll by batches
  of at most half of its copies, and go back by alarms (InferenceComponentDeploymentConfig, API reference). The platform
  has them for real-time alone: what sleeps mostly has one copy or instance, of which there is no half.
- A new model may come up beside the old one before that goes: blue/green takes resources for both at a time ("Enhance
  deployment guardrails with inference component rolling updates", AWS Machine Learning blog, March 2025). So what
  scales to zero may have an instance more than it may have copies (instances_at_most). That SageMaker uses it so nobody
  has measured. Its copies stay within the bounds of their scaling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mlplatform import instances, names
from mlplatform.facts import DATASET_TAG, Endpoint, HostingKind
from mlplatform.records import dataclass
from mlplatform.settings import Settings

AUTO = "auto"  # what job.json says to leave the kind to hosting.plan_hosting
# Those of ServerlessInferenceConfig in the SageMaker Python SDK, which most serverless endpoints are made with.
USUAL_MEMORY_GB = 2
USUAL_CONCURRENCY = 5
USUAL_RESERVED_MIB = 1024  # what an ml.g5.xlarge was seen to give to a component, and most examples of AWS's ask for
_MIB = 1024
_LETTERS = {HostingKind.SERVERLESS: "s", HostingKind.SCALE_TO_ZERO: "z", HostingKind.ASYNCHRONOUS: "q"}
_DIGEST_LENGTH = 7
SLEEPERS = frozenset({HostingKind.SCALE_TO_ZERO, HostingKind.ASYNCHRONOUS})  # their instances go while nobody asks


@dataclass(frozen=True)
class Hosting:
    """What an endpoint is to be."""

    kind: HostingKind
    instance_type: str  # of the kinds that have instances
    fewest: int  # instances; of those that sleep, none
    most: int  # instances
    memory_gb: int = USUAL_MEMORY_GB  # serverless; of a copy that scales to zero what is asked for, or 0
    max_concurrency: int = USUAL_CONCURRENCY  # serverless

    @property
    def reserved_mib(self) -> int:
        """What a copy reserves that scales to zero. It is no limit: a copy may take more than that.

        Small, because SageMaker starts no copy whose reservation does not fit, and says so at once: a gigabyte, or half
        of what components may reserve at all (instances.for_components_mib), and never more than all of that.
        """
        most = instances.for_components_mib(self.instance_type)
        return min(self.memory_gb * _MIB, most) or min(USUAL_RESERVED_MIB, most // 2)

    @property
    def memory_gib(self) -> Decimal:
        """Of which the use of memory is a share: a serverless variant's, or what a copy reserves."""
        return Decimal(self.reserved_mib if self.kind is HostingKind.SCALE_TO_ZERO else self.memory_gb * _MIB) / _MIB

    @property
    def said(self) -> str:
        if self.kind is HostingKind.SERVERLESS:
            return f"serverless, {self.memory_gb} GB, up to {self.max_concurrency} requests at a time"
        if self.kind in SLEEPERS:
            return f"{self.kind.value}, 0 to {self.most} x {self.instance_type}"
        return f"{self.kind.value} on {self.instance_type}"


def hosting(tags: Mapping[str, str], settings: Settings, live: Endpoint | None = None) -> Hosting:
    """What a tag of names.hosting_tag asks for; what it leaves open is as it is live, or the stack's usual."""
    wishes = names.hosting_wishes(tags)
    wished = wishes.get("kind", AUTO)
    usual = live.kind if live else HostingKind.REAL_TIME
    kind = usual if wished == AUTO else HostingKind(wished)
    same = live if live is not None and live.kind is kind else None
    before = names.hosting_wishes(same.tags) if same else {}
    usual_gb = 0 if kind is HostingKind.SCALE_TO_ZERO else USUAL_MEMORY_GB
    fewest, most = instance_bounds(wishes, settings, kind)
    return Hosting(
        kind,
        wishes.get("instance_type", settings.hosting_instance_type),
        fewest,
        most,
        int(wishes.get("memory_gb") or (same and same.memory_gb) or before.get("memory_gb") or usual_gb),
        int(wishes.get("max_concurrency") or (same and same.max_concurrency) or USUAL_CONCURRENCY),
    )


def instance_bounds(
    wishes: Mapping[str, str], settings: Settings, kind: HostingKind = HostingKind.REAL_TIME
) -> tuple[int, int]:
    """The fewest and the most instances. job.json may ask for more than the stack's usual: the larger bound follows the
    smaller."""
    fewest = 0 if kind in SLEEPERS else int(wishes.get("min_instances", settings.min_instances))
    return fewest, max(int(wishes.get("max_instances", settings.max_instances)), fewest)


def tag(hosting_text: str, wanted: Hosting) -> str:
    """The value of the hosting tag of an endpoint that is `wanted`: the kind is in it where it is not the usual one."""
    wishes = names.hosting_wishes({names.HOSTING_TAG: hosting_text})
    if wanted.kind is HostingKind.REAL_TIME and "kind" not in wishes:
        return hosting_text
    wishes["kind"] = wanted.kind.value
    if wanted.kind is HostingKind.SERVERLESS:
        wishes |= {"memory_gb": str(wanted.memory_gb), "max_concurrency": str(wanted.max_concurrency)}
    if wanted.kind is HostingKind.SCALE_TO_ZERO and wanted.memory_gb:
        wishes["memory_gb"] = str(wanted.memory_gb)
    return names.hosting_tag(wishes)[names.HOSTING_TAG]


def as_live(hosting_text: str, live: Endpoint) -> str:
    """The value of a hosting tag for a model that is gone back to: that must be quick, and so moves no endpoint."""
    wishes = names.hosting_wishes({names.HOSTING_TAG: hosting_text})
    if wishes.get("kind", HostingKind.REAL_TIME.value) == live.kind.value:
        return hosting_text
    return names.hosting_tag({"kind": live.kind.value})[names.HOSTING_TAG]


def config_name(wanted: Hosting, model: str, endpoint: str) -> str:
    """A config can't be changed, so that its name tells it from the model's other ones; a real-time one has the
    model's name, and one that scales to zero, which knows no model, begins with the endpoint's.

    At most names.NAME_LIMIT characters.
    """
    if wanted.kind is HostingKind.REAL_TIME:
        return model
    if wanted.kind is HostingKind.SERVERLESS:
        about, size = model, f"{wanted.memory_gb} {wanted.max_concurrency}"
    elif wanted.kind is HostingKind.ASYNCHRONOUS:
        about, size = model, wanted.instance_type
    else:
        about, size = names.bare(endpoint), f"{wanted.instance_type} {instances_at_most(wanted)}"
    digest = hashlib.sha256(f"{about}\0{wanted.kind.value}\0{size}".encode()).hexdigest()[:_DIGEST_LENGTH]
    end = f"--{_LETTERS[wanted.kind]}{digest}"
    return f"{about[: names.NAME_LIMIT - len(end)].rstrip('-')}{end}"


def config_request(
    wanted: Hosting, model: str, endpoint: str, tags: Mapping[str, str], settings: Settings
) -> dict[str, Any]:
    """CreateEndpointConfig. What sleeps begins with one instance, which shows that the model can be served."""
    variant: dict[str, Any] = {"VariantName": names.VARIANT}
    request: dict[str, Any] = {"EndpointConfigName": config_name(wanted, model, endpoint)}
    if wanted.kind is not HostingKind.SCALE_TO_ZERO:
        variant["ModelName"] = model
    if wanted.kind is HostingKind.SERVERLESS:
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": wanted.memory_gb * _MIB,
            "MaxConcurrency": wanted.max_concurrency,
        }
    else:
        variant |= {"InstanceType": wanted.instance_type, "InitialInstanceCount": max(wanted.fewest, 1)}
    if wanted.kind is HostingKind.ASYNCHRONOUS:
        bucket, dataset = settings.artifact_bucket, tags[DATASET_TAG]
        request["AsyncInferenceConfig"] = {
            "OutputConfig": {
                "S3OutputPath": f"s3://{bucket}/{names.queue_prefix(dataset, 'answers')}",
                "S3FailurePath": f"s3://{bucket}/{names.queue_prefix(dataset, 'failures')}",
            }
        }
    if wanted.kind is HostingKind.SCALE_TO_ZERO:
        variant |= {
            "ManagedInstanceScaling": {
                "Status": "ENABLED",
                "MinInstanceCount": 0,
                "MaxInstanceCount": instances_at_most(wanted),
            },
            "RoutingConfig": {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"},
        }
        request |= {"ExecutionRoleArn": settings.training_role_arn, **settings.vpc_config}
    else:
        variant["InitialVariantWeight"] = 1.0
    return {**request, "ProductionVariants": [variant], "Tags": names.tag_list(tags)}


def instances_at_most(wanted: Hosting) -> int:
    """Of what scales to zero: as many as it may have copies, each of which may need one, and one for a copy of the next
    model."""
    return wanted.most + 1


def in_place(live: HostingKind, wanted: HostingKind) -> bool:
    """Whether UpdateEndpoint makes one of the other."""
    return live is wanted or (live is HostingKind.SERVERLESS and wanted is HostingKind.REAL_TIME)


def kind_of(config: Mapping[str, Any]) -> HostingKind:
    """Of a config as DescribeEndpointConfig tells it; of one that is gone, the usual one."""
    variants = config.get("ProductionVariants", ())
    if any("ServerlessConfig" in one for one in variants):
        return HostingKind.SERVERLESS
    if "AsyncInferenceConfig" in config:
        return HostingKind.ASYNCHRONOUS
    if variants and not any("ModelName" in one for one in variants):
        return HostingKind.SCALE_TO_ZERO
    return HostingKind.REAL_TIME


def tagged_kind(tags: Mapping[str, str]) -> HostingKind:
    """Of an endpoint by its tags, where nobody has asked for its config."""
    return HostingKind(tags.get(names.KIND_TAG, HostingKind.REAL_TIME.value))


def kind_tag(kind: HostingKind) -> dict[str, str]:
    """Put on an endpoint that is made or becomes of that kind."""
    return {names.KIND_TAG: kind.value}


def refusal(wishes: Mapping[str, Any], settings: Settings) -> str | None:
    """Why the stack can't host so, as the end of a sentence about job.json; None where it can.

    What is wrong with the wishes by themselves job_spec.py says.
    """
    if wishes.get("kind") == HostingKind.SERVERLESS.value and settings.vpc_config:
        return (
            "asks for 'hosting.kind' serverless, which SageMaker does not offer in a network of its own "
            "(Network=private); leave it out, or deploy the stack with Network=shared"
        )
    if wishes.get("kind") == HostingKind.SCALE_TO_ZERO.value and "memory_gb" in wishes:
        wanted, on = int(wishes["memory_gb"]), wishes.get("instance_type", settings.hosting_instance_type)
        most = Decimal(instances.for_components_mib(on)) / _MIB
        if wanted > most:
            return (
                f"asks for 'hosting.memory_gb' {wanted}, but of an {on} a copy can't be sure to get more than "
                f"{most.normalize():f} GB reserved, and without that SageMaker starts none; leave it out, which limits "
                "nothing, or take a larger 'hosting.instance_type'"
            )
    return None
