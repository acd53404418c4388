"""Names are the idempotency keys: the same data and code, the same names."""

from __future__ import annotations

import itertools
import re

import pytest

from builders import stored
from mlplatform import names
from mlplatform.facts import HostingKind

SAGEMAKER_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


def test_a_version_does_not_depend_on_the_order_of_its_objects() -> None:
    objects = [stored(f"datasets/churn/{n}.csv", etag=f"e{n}") for n in range(3)]
    assert len({names.dataset_version(order) for order in itertools.permutations(objects)}) == 1


def test_a_version_changes_with_content_key_and_number_of_objects_but_not_with_time() -> None:
    one = stored("datasets/churn/a.csv", etag="e1")
    others = [
        (stored("datasets/churn/a.csv", etag="e2"),),
        (stored("datasets/churn/b.csv", etag="e1"),),
        (one, stored("datasets/churn/b.csv", etag="e1")),
    ]
    assert len({names.dataset_version(objects) for objects in [(one,), *others]}) == 4
    assert names.dataset_version([stored("datasets/churn/a.csv", etag="e1", at=99)]) == names.dataset_version([one])


def test_an_etag_counts_the_same_with_and_without_its_quotes() -> None:
    assert names.dataset_version([stored(etag='"e1"')]) == names.dataset_version([stored(etag="e1")])


@pytest.mark.parametrize("stack", ["a", "ml-platform", "s" * 29])
def test_the_longest_dataset_name_still_makes_legal_names(stack: str) -> None:
    dataset = "d" * names.longest_dataset(stack)
    job = names.training_job(stack, dataset, "0" * 12, "f" * 64)
    assert len(job) == 63
    assert SAGEMAKER_NAME.fullmatch(job)
    assert SAGEMAKER_NAME.fullmatch(names.endpoint(stack, dataset))
    assert SAGEMAKER_NAME.fullmatch(names.package_model(names.endpoint(stack, dataset), 999_999_999))


def test_the_job_name_starts_with_stack_and_dataset() -> None:
    assert names.training_job("ml-platform", "churn", "0123456789ab", "abcdef99") == (
        "ml-platform-churn-0123456789ab-abcde"
    )


@pytest.mark.parametrize("dataset", ["churn", "churn-new", "xgboost", "a" * 32])
def test_a_job_tells_its_dataset(dataset: str) -> None:
    job = names.training_job("ml-platform", dataset, "0123456789ab", "abcdef99")
    assert names.dataset_of("ml-platform", job) == dataset


@pytest.mark.parametrize(
    "name",
    [
        "ml-platform-xgboost-abc123def456-a1B2c3D4e5",  # a pipeline's step: the execution and SageMaker's own token
        "ml-platform-pytorch-0123456789ab-abcdef0123-1",
        "ml-platform-churn-t0123456789a-001-abcde123",  # a trial
        "ml-other-churn-0123456789ab-abcde",
        "my-ml-platform-churn-0123456789ab-abcde",
        "ml-platform-0123456789ab-abcde",
        "execution-1732300000000",
    ],
)
def test_what_is_not_named_like_a_training_job_tells_none(name: str) -> None:
    assert names.dataset_of("ml-platform", name) is None


@pytest.mark.parametrize("dataset", ["a", "a1", "a-b", "2026-sales", "a" * 32])
def test_these_are_dataset_names(dataset: str) -> None:
    assert names.is_dataset("ml-platform", dataset)


@pytest.mark.parametrize("dataset", ["", "-a", "a-", "a--b", "A", "a_b", "a b", "a.csv", "ä", "a" * 33])
def test_these_are_not(dataset: str) -> None:
    assert not names.is_dataset("ml-platform", dataset)


def test_what_job_json_asks_of_hosting_survives_as_a_tag() -> None:
    hosting = {"instance_type": "ml.m5.large", "min_instances": 2}
    tags = names.hosting_tag(hosting)
    assert names.hosting_wishes(tags) == {"instance_type": "ml.m5.large", "min_instances": "2"}
    assert names.hosting_tag({}) == {}
    assert names.hosting_wishes({names.HOSTING_TAG: ""}) == {}


@pytest.mark.parametrize(
    ("variant", "kind", "resource", "dimension"),
    [
        ("AllTraffic", "real-time", "endpoint/ml-platform-churn/variant/AllTraffic", "variant:DesiredInstanceCount"),
        ("Challenger", "real-time", "endpoint/ml-platform-churn/variant/Challenger", "variant:DesiredInstanceCount"),
        (None, "asynchronous", "endpoint/ml-platform-churn/variant/AllTraffic", "variant:DesiredInstanceCount"),
        (
            "AllTraffic",
            "scale-to-zero",
            "inference-component/ml-platform-churn",
            "inference-component:DesiredCopyCount",
        ),
    ],
)
def test_what_scales_is_a_variant_or_the_component_of_what_scales_to_zero(
    variant: str | None, kind: str, resource: str, dimension: str
) -> None:
    assert names.scalable_target("ml-platform-churn", variant, kind=HostingKind(kind)) == {
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource,
        "ScalableDimension": f"sagemaker:{dimension}",
    }
