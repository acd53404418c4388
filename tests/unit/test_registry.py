"""What a model is registered with, held against the service model. Pure: no AWS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import builders
from builders import JOB, card, model_package, training_job
from laptop.service_model import validate
from mlplatform import names, registry
from mlplatform.deployment import plan_deployment
from mlplatform.facts import Approval


def request(**changed: Any) -> dict[str, Any]:
    decision = plan_deployment(training_job(**changed), card(test=0.9), None, builders.settings())
    return dict(decision.model_package)  # type: ignore[union-attr, arg-type]


def test_a_package_says_what_it_was_made_of_how_good_it_is_and_what_it_costs() -> None:
    hyperparameters = {
        "_tuning_objective_metric": "validation:loss",
        "sagemaker_submit_directory": '"s3://ml-platform-artifacts/code/abc123/sourcedir.tar.gz"',
        "header": '"true"',
        "epochs": "20",
    }
    tags = {**training_job().tags, names.HOSTING_TAG: "min_instances=2"}
    package = request(hyperparameters=hyperparameters, tags=tags, inputs={"live_model": builders.LIVE_ARTIFACT})
    assert package["CustomerMetadataProperties"] == {
        "gate": "passed",
        "dataset": "churn",
        "dataset_version": builders.VERSION,
        "manifest": f"s3://ml-platform-artifacts/manifests/churn/{builders.VERSION}.json",
        "training_job": JOB,
        "instance": "1 x ml.m5.xlarge spot",
        "code": "s3://ml-platform-artifacts/code/abc123/sourcedir.tar.gz",
        "code_digest": "abc123",
        "objective": "roc_auc",
        "test_roc_auc": "0.900000",
        "compared_with": builders.LIVE_ARTIFACT,
        "training_usd": "0.0064",
        "hosting_usd_per_month": "44.32",
        "hosting": "min_instances=2",
        "hp_epochs": "20",
        "hp_header": "true",
    }
    assert package["MetadataProperties"] == {"GeneratedBy": training_job().arn}
    assert package["ModelMetrics"]["ModelQuality"]["Statistics"]["S3Uri"].endswith(f"models/churn/{JOB}/metrics.json")
    assert validate("sagemaker", "CreateModelPackage", package) == []


def test_whatever_people_wrote_the_package_can_be_registered() -> None:
    odd = {f"hp_{n}": "x" * 300 + "ä, (ü) $5\n" for n in range(60)} | {"": "nothing", "ключ": "значение", "a,b": "{}"}
    found = registry.properties(odd)
    assert len(found) <= 42, "people need room for their own"
    assert found["hp_0"] == "x" * 256
    package = request(
        hyperparameters={f"h{n}": '{"a": [1, 2]}, "ü"' for n in range(80)},
        tags={**training_job().tags, names.HOSTING_TAG: ""},
    )
    assert validate("sagemaker", "CreateModelPackage", package) == []
    update = {"ModelPackageArn": model_package().arn, "CustomerMetadataProperties": registry.properties(odd)}
    assert validate("sagemaker", "UpdateModelPackage", update) == []


def test_a_judgement_of_what_others_registered_is_a_request_that_sagemaker_accepts() -> None:
    found = {"test_roc_auc": "0.500000"}
    update = registry.verdict(model_package().arn, found, "1764", Approval.REJECTED, "It has\nroc_auc 0.5 (no better).")
    assert validate("sagemaker", "UpdateModelPackage", update) == []
    assert update["ApprovalDescription"] == "It has roc_auc 0.5 (no better)."
    assert update["CustomerMetadataProperties"] == {"gate": "failed", "judged": "1764", "test_roc_auc": "0.500000"}


@pytest.mark.parametrize(
    ("job", "name"),
    [
        (JOB, JOB),
        ("pipelines-4r83jejmhorv-TrainAbaloneModel-xw869y8C4a", "ml-platform-churn-v2"),
        ("ml-platform-other-0123456789ab-a1b2c", "ml-platform-churn-v2"),
        ("ml-platform-churn-not legal", "ml-platform-churn-v2"),
        (None, "ml-platform-churn-v2"),
    ],
)
def test_a_package_serves_under_its_jobs_name_or_under_its_number(job: str | None, name: str) -> None:
    properties = {} if job is None else {"training_job": job}
    assert registry.model_name(model_package(properties=properties)) == name


@pytest.mark.parametrize(
    ("group", "dataset"),
    [
        ("ml-platform-churn", "churn"),
        ("ml-platform-", None),
        ("ml-platform", None),
        ("other-churn", None),
        ("ml-platform-Not_A_Dataset", None),
    ],
)
def test_a_group_belongs_to_a_dataset_of_the_stack_or_to_nobody_here(group: str, dataset: str | None) -> None:
    assert registry.dataset_of(group, "ml-platform") == dataset


def test_people_call_a_package_by_its_dataset_and_number() -> None:
    assert registry.spoken(model_package(7).arn, "ml-platform") == "churn/7"


GATE = "It has roc_auc 0.4000 on its test rows, no better than chance (0.5); it is not deployed."


@pytest.mark.parametrize(
    ("description", "before", "reason", "after"),
    [
        # What the gate registered has its finding in the description, which nobody changes.
        (f"Trained by job-1. {GATE}", "", "checked by hand", "checked by hand"),
        # Of what a pipeline registered it is in the ApprovalDescription, where the person's word goes.
        ("Trained by job-1.", GATE, "checked by hand", f"checked by hand The gate said: {GATE}"),
        ("Trained by job-1.", GATE, "", f"The gate said: {GATE}"),
        ("Trained by job-1.", f"no The gate said: {GATE}", "yes", f"yes The gate said: {GATE}"),
    ],
)
def test_a_persons_word_on_a_package_does_not_take_the_gates(
    description: str, before: str, reason: str, after: str
) -> None:
    package = builders.model_package(description=description, approval_description=before, properties={})
    assert registry.answer(reason, package) == after
    assert registry.gate_said(package) == GATE
    answered = replace(package, approval_description=after, properties={"approved_by": "ann"})
    assert registry.gate_said(answered) == GATE
    assert registry.person_said(answered) == reason
