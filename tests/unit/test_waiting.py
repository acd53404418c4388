"""What AWS refuses for a reason that only people mend waits; what may heal by itself is an error as before."""

from __future__ import annotations

from typing import Any

import pytest

import builders
from mlplatform.deployment import Model, deployment
from mlplatform.errors import AwsError
from mlplatform.training import plan_training
from mlplatform.waiting import asked_by, held_by, refused_by

LIMIT = ("ResourceLimitExceeded", "The limit is 1 Instances.")
GONE = ("ValidationException", "Could not assume role arn:aws:iam::123456789012:role/training. Look there.")
BUSY = ("ThrottlingException", "Rate exceeded")


def refused(code: str, message: str) -> AwsError:
    return AwsError("sagemaker", "CreateEndpoint", code, message)


@pytest.mark.parametrize(
    ("error", "cause", "held", "asked", "test"),
    [
        (
            LIMIT,
            "quota",
            "but waits: SageMaker says: The limit is 1 Instances. Ask for more in the Service Quotas console, under "
            "Amazon SageMaker, or wait until other jobs have ended; then drop it again",
            "SageMaker says: The limit is 1 Instances; approve it once that is mended.",
            "SageMaker gives no instances for a challenger: The limit is 1 Instances.",
        ),
        (
            GONE,
            "missing",
            "but waits. AWS says: Could not assume role arn:aws:iam::123456789012:role/training. Put it back;",
            "a deployment of the stack, and approve it then.",
            None,
        ),
    ],
)
def test_a_launch_and_a_deployment_wait_and_say_for_what(
    error: tuple[str, str], cause: str, held: str, asked: str, test: str | None
) -> None:
    launch: Any = plan_training(builders.drop(), None, builders.settings())
    waits = held_by(launch, refused(*error))
    assert waits is not None
    assert waits.period == cause
    assert held in waits.reason
    model = Model("churn", builders.JOB, {"Image": "image", "ModelDataUrl": "s3://b/model.tar.gz"}, "")
    registered = {"CustomerMetadataProperties": {"gate": "passed"}}
    decision = deployment("It is good.", model, None, builders.settings(), model_package=registered)
    pending = asked_by(decision, refused(*error))
    assert pending is not None
    assert asked in pending.reason
    assert pending.model_package is not None
    assert pending.model_package["CustomerMetadataProperties"] == {"gate": "passed", "asked": cause}
    refusal = refused_by(refused(*error))
    assert (refusal.reason if refusal else None) == test


def test_what_may_heal_by_itself_is_no_reason_to_wait() -> None:
    launch: Any = plan_training(builders.drop(), None, builders.settings())
    model = Model("churn", builders.JOB, {"Image": "image", "ModelDataUrl": "s3://b/model.tar.gz"}, "")
    assert held_by(launch, refused(*BUSY)) is None
    assert asked_by(deployment("It is good.", model, None, builders.settings()), refused(*BUSY)) is None
    assert refused_by(refused(*BUSY)) is None


def test_a_region_that_scales_nothing_to_zero_is_named_with_what_to_set_instead() -> None:
    """AWS's words of 2026-08-27 in eu-west-3 (github.com/stdapi-ai/stdapi.ai/issues/43)."""
    said = "Min instance count needs to be greater than 0 for enabled managed instance scaling"
    model = Model("churn", builders.JOB, {"Image": "image", "ModelDataUrl": "s3://b/m"}, "kind=scale-to-zero")
    pending = asked_by(
        deployment("It is good.", model, None, builders.settings()), refused("ValidationException", said)
    )
    assert pending is not None
    assert f"SageMaker does not scale to zero in this region: {said}. Set another hosting.kind" in pending.reason
