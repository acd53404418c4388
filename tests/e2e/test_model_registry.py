"""A model waits for a person, is approved, replaced, rolled back to and rejected, from the command line on a laptop."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from mlplatform import names

from .conftest import STACK, Laptop, Mlp, eventually

pytestmark = pytest.mark.xdist_group("second-laptop")
GROUP = names.endpoint(STACK, "gated")


def visitors(rows: int = 200) -> str:
    """Whether a visitor buys follows from the pages that were read, but for some."""
    rng = random.Random(5)
    lines = ["pages,minutes,buys"]
    for _ in range(rows):
        pages, minutes = rng.randint(1, 30), rng.uniform(0, 60)
        lines.append(f"{pages},{minutes:.1f},{'yes' if pages + rng.gauss(0, 6) > 15 else 'no'}")
    return "\n".join(lines) + "\n"


def package(laptop: Laptop, version: int) -> dict[str, Any]:
    found: dict[str, Any] = laptop.sagemaker.describe_model_package(ModelPackageName=f"{GROUP}/{version}")
    return found


def approval(laptop: Laptop, version: int, wanted: str) -> dict[str, Any]:
    def read() -> dict[str, Any] | None:
        try:
            found = package(laptop, version)
        except laptop.sagemaker.exceptions.ClientError:
            return None
        return found if found["ModelApprovalStatus"] == wanted else None

    return eventually(read, 60, f"{GROUP}/{version} is not {wanted}")


def test_a_model_waits_is_approved_forced_out_and_rolled_back_to(laptop: Laptop, mlp: Mlp) -> None:
    spec = {"approval": "manual", "hyperparameters": {"network": "mlp", "epochs": 3}}
    laptop.put("gated", names.JOB_SPEC_FILE, json.dumps(spec))
    laptop.put("gated", "visitors.csv", visitors())
    job = laptop.verdict("gated")["job_name"]

    # It is good, and waits.
    first = approval(laptop, 1, "PendingManualApproval")
    assert first["CustomerMetadataProperties"]["asked"] == "requested"
    [asked] = laptop.inbox("mlp approve gated/1")
    assert "waits for approval" in json.dumps(asked)
    assert "no difference" not in json.dumps(asked), "nothing is live yet"
    endpoints = laptop.sagemaker.list_endpoints(NameContains=GROUP)["Endpoints"]
    assert endpoints == []
    assert "gated/1 waits" in mlp("models", "gated")

    # Approved from the command line, it is deployed.
    said = mlp("approve", "gated", "--reason", "looked at it")
    assert "gated/1 is approved" in said
    assert "(looked at it); it goes live" in said
    laptop.endpoint_serving("gated", job)

    # What anybody registers is judged by the same gate; the same model again is no better.
    laptop.sagemaker.create_model_package(
        ModelPackageGroupName=GROUP,
        ModelApprovalStatus="Approved",
        InferenceSpecification=first["InferenceSpecification"],
        CustomerMetadataProperties={"objective": "roc_auc"},
    )
    rejected = approval(laptop, 2, "Rejected")
    assert "the live model stays" in rejected["ApprovalDescription"]
    assert "gated/2 failed its gate" in mlp("approve", "gated/2", fails=True)

    # An approval by any other client of what failed its gate deploys nothing, and says how it could.
    laptop.sagemaker.update_model_package(
        ModelPackageArn=rejected["ModelPackageArn"], ModelApprovalStatus="Approved", ApprovalDescription="please"
    )
    laptop.inbox("mlp approve gated/2 --force")
    laptop.endpoint_serving("gated", job)

    # Forced by name it is deployed, and who did it is kept with it.
    mlp("approve", "gated/2", "--force", "--reason", "we need it for the demo")
    laptop.endpoint_serving("gated", f"{GROUP}-v2")
    forced = package(laptop, 2)["CustomerMetadataProperties"]
    assert forced["forced_by"].startswith("arn:aws:")
    assert forced["forced_because"] == "we need it for the demo"

    # And back to what was live before.
    said = mlp("rollback", "gated", "--reason", "worse after all")
    assert "older than the live version 2, so that this is a rollback" in said
    laptop.endpoint_serving("gated", job)
    assert package(laptop, 2)["ModelApprovalStatus"] == "Rejected"
    assert "no other approved model to go back to" in mlp("rollback", "gated", fails=True)

    # A rejection stops nothing.
    assert "it is live and stays so" in mlp("reject", "gated/1", "--reason", "the label leaks")
    laptop.inbox("The live model of gated was rejected")
    laptop.endpoint_serving("gated", job)


def test_an_update_that_answers_otherwise_than_in_training_is_rolled_back_by_itself(laptop: Laptop, mlp: Mlp) -> None:
    """With the endpoint of the test above; what is wrong is the card, which is all that tells right from wrong."""
    job = laptop.sagemaker.describe_endpoint(EndpointName=GROUP)["EndpointConfigName"]
    mlp("approve", "gated/2", "--force", "--reason", "so that there is something to go back from")
    laptop.endpoint_serving("gated", f"{GROUP}-v2")
    s3, bucket = laptop.client("s3"), laptop.connection.outputs["ArtifactBucketName"]
    key = f"{names.model_card_prefix('gated', job)}sample.json"
    sample = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read())
    sample["response"]["predictions"] = ["neither"] * len(sample["response"]["predictions"])
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(sample).encode())
    mlp("approve", "gated/1", "--reason", "it was better")
    laptop.inbox(f"Update of endpoint {GROUP} answers wrongly")
    laptop.inbox(f"Update of endpoint {GROUP} failed")
    described = laptop.sagemaker.describe_endpoint(EndpointName=GROUP)
    assert (described["EndpointStatus"], described["EndpointConfigName"]) == ("InService", f"{GROUP}-v2")
    assert f"{job}-update-answers" in described["FailureReason"]
    assert "failed; it still serves" in mlp("doctor", fails=True)

    def left() -> bool:
        return not laptop.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{job}-update-")["MetricAlarms"]

    eventually(lambda: left() or None, 60, "the alarms of the update did not go")

    # What is missing is mended by the function whose work it is; the update that failed stays a person's to decide.
    laptop.client("cloudwatch").delete_alarms(AlarmNames=[f"{GROUP}-cpu"])
    said = mlp("doctor", "--mend", fails=True)
    assert f"its alarm {GROUP}-cpu is missing" in said
    assert "mended" in said
    assert laptop.client("cloudwatch").describe_alarms(AlarmNames=[f"{GROUP}-cpu"])["MetricAlarms"]
    assert "is missing" not in mlp("doctor", fails=True)
