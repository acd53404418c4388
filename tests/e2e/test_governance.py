"""What functions made and nothing needs any more is tidied up; what somebody keeps is not."""

from __future__ import annotations

import json
from datetime import timedelta

import boto3
import pytest

from mlplatform import names
from mlplatform.containers import inference_image

from .conftest import STACK, Laptop, Mlp

pytestmark = pytest.mark.xdist_group("second-laptop")
ROLE = "TrainingRoleArn"


def tags(**more: str) -> list[dict[str, str]]:
    return names.tag_list({"ml-platform:stack": STACK, "ml-platform:dataset": "orphan", **more})


def orphan(laptop: Laptop, name: str, tagged: list[dict[str, str]]) -> None:
    """A model that no endpoint serves."""
    bucket, key = laptop.connection.outputs["ArtifactBucketName"], "training-output/orphan/model.tar.gz"
    laptop.s3.put_object(Bucket=bucket, Key=key, Body=b"nobody unpacks it")
    laptop.sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=laptop.connection.outputs[ROLE],
        PrimaryContainer={
            "Image": inference_image("us-east-1", "ml.c5.large"),
            "ModelDataUrl": f"s3://{bucket}/{key}",
        },
        Tags=tagged,
    )


def govern(laptop: Laptop, days: int, dry_run: bool = False) -> list[dict[str, str]]:
    """What the schedule would send so many days from now."""
    at = laptop.connection.now() + timedelta(days=days)
    answer = laptop.client("lambda").invoke(
        FunctionName=f"{STACK}-govern-resources",
        Payload=json.dumps({"scheduled_time": f"{at:%Y-%m-%dT%H:%M:%SZ}", "dry_run": dry_run}).encode(),
    )
    decisions: list[dict[str, str]] = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, decisions
    return decisions


def models(laptop: Laptop) -> set[str]:
    return {one["ModelName"] for one in laptop.sagemaker.list_models(NameContains="orphan")["Models"]}


def test_orphans_go_after_a_day_and_nothing_else_does(laptop: Laptop, mlp: Mlp) -> None:
    gone, kept, foreign = f"{STACK}-orphan-1", f"{STACK}-orphan-2", f"{STACK}-orphan-3"
    orphan(laptop, gone, tags())
    orphan(laptop, kept, tags(**{names.KEEP_TAG: "always"}))
    orphan(laptop, foreign, [])  # named alike, but not made by the stack
    assert "No endpoint runs or sleeps" not in mlp("govern", "--dry-run"), "a deployment may be under way"
    [planned] = [
        one for one in govern(laptop, 2, dry_run=True) if "orphan" in one["reason"] and "EndR" in one["decision"]
    ]
    assert planned["reason"] == f"No endpoint runs or sleeps with the model {gone}."
    assert models(laptop) == {gone, kept, foreign}, "a dry run changes nothing"

    govern(laptop, 2)
    assert models(laptop) == {kept, foreign}
    found = {tag["Key"]: tag["Value"] for tag in laptop.sagemaker.list_tags(ResourceArn=arn(laptop, kept))["Tags"]}
    assert found["Project"] == "ml-platform", "a missing required tag was set"
    laptop.inbox("Tidied up")


def arn(laptop: Laptop, model: str) -> str:
    return str(laptop.sagemaker.describe_model(ModelName=model)["ModelArn"])


def test_what_somebody_left_untagged_is_told_with_their_name_and_stays(laptop: Laptop) -> None:
    iam = laptop.client("iam")
    iam.create_user(UserName="alice")
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    session = boto3.session.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")
    session.client("s3", endpoint_url=laptop.url).create_bucket(Bucket="a-thing-of-alice")
    [told] = [one for one in govern(laptop, 1, dry_run=True) if "a-thing-of-alice" in one["reason"]]
    assert told == {
        "decision": "ReportUntagged",
        "reason": "The bucket a-thing-of-alice lacks Project, Environment, CostCenter and Owner. "
        "alice made it, and so may be its owner. To tag it: aws resourcegroupstaggingapi tag-resources "
        "--resource-arn-list arn:aws:s3:::a-thing-of-alice "
        "--tags Project=VALUE,Environment=VALUE,CostCenter=VALUE,Owner=alice",
    }
    govern(laptop, 1)
    assert "a-thing-of-alice" in str(laptop.inbox("without required tags"))
    assert "a-thing-of-alice" in {one["Name"] for one in laptop.s3.list_buckets()["Buckets"]}
    laptop.s3.delete_bucket(Bucket="a-thing-of-alice")
