"""An endpoint in service on moto, and what happens to it: for the tests of what watches over endpoints."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import builders
from builders import JOB, Account
from cli.connection import Connection
from configure_autoscaling import configure_autoscaling
from mlplatform import events, names
from mlplatform.decisions import Decision
from mlplatform.endpoint_alarms import update_alarms

ENDPOINT = "ml-platform-churn"


class AccountsConnection(Connection):
    """The command line's connection to an account on moto, with the account's own clients."""

    def __init__(self, account: Account) -> None:
        super().__init__("ml-platform", None, builders.REGION)
        self._account = account
        self.__dict__["settings"] = account.settings
        self.__dict__["outputs"] = {
            "DataBucketName": account.settings.data_bucket,
            "ArtifactBucketName": account.settings.artifact_bucket,
            "AlertsTopicArn": account.settings.alerts_topic_arn,
        }

    def client(self, service: str, **options: Any) -> Any:
        return self._account.client(service)


def deploy(account: Account, *, instance_type: str = "ml.c5.large", tags: Mapping[str, str] | None = None) -> None:
    """An endpoint in service with the model of JOB, its card, and an answer to the smoke test."""
    sagemaker = account.client("sagemaker")
    role, image = account.settings.training_role_arn, {"Image": "image", "ModelDataUrl": "s3://b/k"}
    for name in (JOB, builders.LIVE_JOB):
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=role, PrimaryContainer=image)
        variant = {
            "VariantName": names.VARIANT,
            "ModelName": name,
            "InstanceType": instance_type,
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    all_tags = names.tags(account.settings.required_tags, stack="ml-platform", dataset="churn") | {
        names.WANTED_TAG: JOB,
        names.ASKED_TAG: JOB,
        **(tags or {}),
    }
    sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=JOB, Tags=names.tag_list(all_tags))
    card(account, JOB)
    answers(account, builders.SAMPLE_JSON["response"])


def card(account: Account, model: str) -> None:
    """What is kept beside a registered model."""
    for file, document in (("metrics.json", builders.metrics_json()), ("sample.json", builders.SAMPLE_JSON)):
        account.put(f"models/churn/{model}/{file}", json.dumps(document).encode(), "ml-platform-artifacts")


def answers(account: Account, response: Any) -> None:
    account.answers["invoke_endpoint"] = lambda _: {
        "ResponseMetadata": {"HTTPStatusCode": 200},
        "Body": io.BytesIO(json.dumps(response).encode()),
    }


def in_service(account: Account, **changed: Any) -> Decision:
    """AWS's sample of an endpoint event, with what DescribeEndpoint says changed where a test needs it."""
    if changed:
        found = account.client("sagemaker").describe_endpoint(EndpointName=ENDPOINT)
        account.answers["describe_endpoint"] = found | changed
    event = builders.sample_event("sagemaker_endpoint_state_change")
    event["detail"]["EndpointName"] = ENDPOINT
    return configure_autoscaling(account.app(), events.endpoint_changed(event))


def failed(account: Account) -> None:
    """An update to LIVE_JOB was asked for, and is over; its alarms are still there."""
    sagemaker = account.client("sagemaker")
    arn = sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    asked = {names.WANTED_TAG: builders.LIVE_JOB, names.ASKED_TAG: builders.LIVE_JOB}
    sagemaker.add_tags(ResourceArn=arn, Tags=names.tag_list(asked))
    for alarm in update_alarms(ENDPOINT, builders.LIVE_JOB, "churn", account.settings):
        account.client("cloudwatch").put_metric_alarm(**alarm)
