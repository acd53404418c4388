"""How a model is hosted: what job.json wishes, as requests of SageMaker's. Pure.

What AWS allows, and where it says so (SageMaker developer guide unless named otherwise):

- Serverless has no GPU, no VPC and one variant; 1 to 6 GB in whole ones, and at most 200 requests at a time ("Deploy
  models with Amazon SageMaker Serverless Inference"; ProductionVariantServerlessConfig, API reference). "You cannot
  convert your instance-based, real-time endpoint to a serverless endpoint": a ValidationError. A serverless one becomes
  real-time in place, and there is no way back (same page, "Feature exclusions").
- Deployment guardrails, which are canaries, alarms and rollback, are for real-time and asynchronous endpoints alone
  ("Deployment guardrails for updating models in production").
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlplatform import names
from mlplatform.facts import Endpoint, HostingKind
from mlplatform.settings import Settings

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from mlplatform.records import dataclass  # the same, and quicker to start

AUTO = "auto"  # what job.json says to leave the kind to hosting.plan_hosting
# Those of ServerlessInferenceConfig in the SageMaker Python SDK, which most serverless endpoints are made with.
USUAL_MEMORY_GB = 2
USUAL_CONCURRENCY = 5
_LETTERS = {HostingKind.SERVERLESS: "s", HostingKind.SCALE_TO_ZERO: "z", HostingKind.ASYNCHRONOUS: "q"}
_DIGEST_LENGTH = 7


@dataclass(frozen=True)
class Hosting:
    """What an endpoint is to be."""

    kind: HostingKind
    instance_type: str  # of the kinds that have instances
    fewest: int  # instances
    memory_gb: int = USUAL_MEMORY_GB  # serverless
    max_concurrency: int = USUAL_CONCURRENCY  # serverless

    @property
    def said(self) -> str:
        if self.kind is HostingKind.SERVERLESS:
            return f"serverless, {self.memory_gb} GB, up to {self.max_concurrency} requests at a time"
        return f"{self.kind.value} on {self.instance_type}"


def hosting(tags: Mapping[str, str], settings: Settings, live: Endpoint | None = None) -> Hosting:
    """What a tag of names.hosting_tag asks for; what it leaves open is as it is live, or the stack's usual."""
    wishes = names.hosting_wishes(tags)
    wished = wishes.get("kind", AUTO)
    usual = live.kind if live else HostingKind.REAL_TIME
    kind = usual if wished == AUTO else HostingKind(wished)
    same = live if live is not None and live.kind is kind else None
    return Hosting(
        kind,
        wishes.get("instance_type", settings.hosting_instance_type),
        int(wishes.get("min_instances", settings.min_instances)),
        int(wishes.get("memory_gb") or (same and same.memory_gb) or USUAL_MEMORY_GB),
        int(wishes.get("max_concurrency") or (same and same.max_concurrency) or USUAL_CONCURRENCY),
    )


def tag(hosting_text: str, wanted: Hosting) -> str:
    """The value of the hosting tag of an endpoint that is `wanted`: the kind is in it where it is not the usual one."""
    wishes = names.hosting_wishes({names.HOSTING_TAG: hosting_text})
    if wanted.kind is HostingKind.REAL_TIME and "kind" not in wishes:
        return hosting_text
    wishes["kind"] = wanted.kind.value
    if wanted.kind is HostingKind.SERVERLESS:
        wishes |= {"memory_gb": str(wanted.memory_gb), "max_concurrency": str(wanted.max_concurrency)}
    return names.hosting_tag(wishes)[names.HOSTING_TAG]


def config_name(model: str, wanted: Hosting) -> str:
    """A config can't be changed, so that its name tells it from the model's other ones; a real-time one has the
    model's name. At most names.NAME_LIMIT characters, which begin with those of the model."""
    if wanted.kind is HostingKind.REAL_TIME:
        return model
    digest = hashlib.sha256(f"{model}\0{wanted.said}".encode()).hexdigest()[:_DIGEST_LENGTH]
    end = f"--{_LETTERS[wanted.kind]}{digest}"
    return f"{model[: names.NAME_LIMIT - len(end)].rstrip('-')}{end}"


def config_request(model: str, wanted: Hosting, tags: Mapping[str, str]) -> dict[str, Any]:
    """CreateEndpointConfig."""
    variant: dict[str, Any] = {"VariantName": names.VARIANT, "ModelName": model}
    if wanted.kind is HostingKind.SERVERLESS:
        variant["ServerlessConfig"] = {
            "MemorySizeInMB": wanted.memory_gb * 1024,
            "MaxConcurrency": wanted.max_concurrency,
        }
    else:
        variant |= {"InstanceType": wanted.instance_type, "InitialInstanceCount": wanted.fewest}
    variant["InitialVariantWeight"] = 1.0
    return {
        "EndpointConfigName": config_name(model, wanted),
        "ProductionVariants": [variant],
        "Tags": names.tag_list(tags),
    }


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
    return None
