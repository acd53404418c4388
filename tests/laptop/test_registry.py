"""The laptop's model registry: what a caller of the SageMaker API sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from moto_over_http import RecordingBus, moto_account

from laptop import service_model
from laptop.account import Account
from laptop.errors import ServiceError
from laptop.registry import install

PACKAGE_ARN = "arn:aws:sagemaker:us-east-1:123456789012:model-package"
MODEL = "s3://registry-models/model.tar.gz"


class Registry:
    """The operations by name, each request and answer held against the service model."""

    def __init__(self, account: Account) -> None:
        self.account = account
        install(account)

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**parameters: Any) -> dict[str, Any]:
            assert service_model.validate("sagemaker", operation, parameters) == []
            answer = self.account.operations["sagemaker"][operation](parameters)
            shape = service_model.model("sagemaker").operation_model(operation).output_shape
            assert answer.keys() <= (shape.members.keys() if shape else set())
            return answer

        return call

    def package(self, group: str, **changes: Any) -> str:
        specification = {
            "Containers": [{"Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/x:1", "ModelDataUrl": MODEL}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["application/json"],
        }
        request = {"ModelPackageGroupName": group, "InferenceSpecification": specification, **changes}
        return str(self.CreateModelPackage(**request)["ModelPackageArn"])

    def events(self) -> list[dict[str, Any]]:
        assert isinstance(self.account.events, RecordingBus)
        return [detail for _, _, detail, _ in self.account.events.events]


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with moto_account(tmp_path_factory.mktemp("home")) as account:
        s3 = account.client("s3")
        s3.create_bucket(Bucket="registry-models")
        s3.put_object(Bucket="registry-models", Key="model.tar.gz", Body=b"weights")
        yield account


@pytest.fixture
def registry(account: Account) -> Registry:
    account.events = RecordingBus()
    account.tags.clear()
    return Registry(account)


def test_packages_of_a_group_are_numbered_and_numbers_never_come_again(registry: Registry) -> None:
    registry.CreateModelPackageGroup(ModelPackageGroupName="churn", Tags=[{"Key": "Owner", "Value": "ann"}])
    assert registry.package("churn") == f"{PACKAGE_ARN}/churn/1"
    assert registry.package("churn") == f"{PACKAGE_ARN}/churn/2"
    registry.DeleteModelPackage(ModelPackageName=f"{PACKAGE_ARN}/churn/2")
    assert registry.package("churn") == f"{PACKAGE_ARN}/churn/3"
    described = registry.DescribeModelPackage(ModelPackageName=f"{PACKAGE_ARN}/churn/3")
    assert (described["ModelPackageVersion"], described["ModelPackageGroupName"]) == (3, "churn")
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert described["ModelPackageStatus"] == "Completed"
    assert described["InferenceSpecification"]["Containers"][0]["ModelDataUrl"] == MODEL
    assert registry.account.tags[f"{PACKAGE_ARN}/churn/3"] == {"Owner": "ann"}, "a package has its group's tags"
    with pytest.raises(ServiceError, match="churn/2 does not exist"):
        registry.DescribeModelPackage(ModelPackageName=f"{PACKAGE_ARN}/churn/2")


def test_the_same_client_token_registers_once(registry: Registry) -> None:
    registry.CreateModelPackageGroup(ModelPackageGroupName="once")
    first = registry.package("once", ClientToken="t" * 36)
    assert registry.package("once", ClientToken="t" * 36) == first
    assert registry.package("once", ClientToken="u" * 36) != first
    with pytest.raises(ServiceError, match="used before with other parameters"):
        registry.package("once", ClientToken="t" * 36, ModelApprovalStatus="Approved")


def test_a_package_needs_its_group_and_its_model(registry: Registry) -> None:
    with pytest.raises(ServiceError, match="model-package-group/nobody does not exist") as refusal:
        registry.package("nobody")
    assert refusal.value.code == "ValidationException"
    registry.CreateModelPackageGroup(ModelPackageGroupName="strict")
    gone = {"Containers": [{"Image": "x", "ModelDataUrl": "s3://registry-models/gone.tar.gz"}]}
    with pytest.raises(ServiceError, match=r"Could not find model data at s3://registry-models/gone\.tar\.gz"):
        registry.package("strict", InferenceSpecification=gone)
    with pytest.raises(ServiceError, match="uses the tags of its group"):
        registry.package("strict", Tags=[{"Key": "a", "Value": "b"}])
    assert registry.ListModelPackages(ModelPackageGroupName="strict")["ModelPackageSummaryList"] == []


def test_a_group_is_unique_and_goes_only_when_empty(registry: Registry) -> None:
    created = registry.CreateModelPackageGroup(ModelPackageGroupName="g", ModelPackageGroupDescription="all of g")
    with pytest.raises(ServiceError, match="Model Package Group already exists"):
        registry.CreateModelPackageGroup(ModelPackageGroupName="g")
    described = registry.DescribeModelPackageGroup(ModelPackageGroupName="g")
    assert described["ModelPackageGroupArn"] == created["ModelPackageGroupArn"]
    assert described["ModelPackageGroupDescription"] == "all of g"
    package = registry.package("g")
    with pytest.raises(ServiceError) as refusal:
        registry.DeleteModelPackageGroup(ModelPackageGroupName="g")
    assert refusal.value.code == "ConflictException"
    registry.DeleteModelPackage(ModelPackageName=package)
    registry.DeleteModelPackageGroup(ModelPackageGroupName="g")
    assert registry.ListModelPackageGroups()["ModelPackageGroupSummaryList"] == []
    assert registry.account.tags == {}
    with pytest.raises(ServiceError, match="does not exist"):
        registry.DescribeModelPackageGroup(ModelPackageGroupName="g")


def test_packages_are_listed_by_group_and_approval_in_pages(registry: Registry) -> None:
    for group in ("one", "other"):
        registry.CreateModelPackageGroup(ModelPackageGroupName=group)
    arns = [registry.package("one", ModelApprovalStatus=s) for s in ("Approved", "Rejected", "Approved")]
    registry.package("other", ModelApprovalStatus="Approved")

    def listed(**filters: Any) -> tuple[list[str], str | None]:
        answer = registry.ListModelPackages(**filters)
        return [p["ModelPackageArn"] for p in answer["ModelPackageSummaryList"]], answer.get("NextToken")

    first, token = listed(ModelPackageGroupName="one", MaxResults=2, SortOrder="Descending")
    assert first == [arns[2], arns[1]]
    assert listed(ModelPackageGroupName="one", MaxResults=2, SortOrder="Descending", NextToken=token) == (
        [arns[0]],
        None,
    )
    assert listed(ModelPackageGroupName="one", ModelApprovalStatus="Approved") == ([arns[0], arns[2]], None)
    assert listed() == ([], None), "without a group only unversioned packages are listed"
    assert len(listed(ModelPackageType="Versioned")[0]) == 4


def test_an_approval_is_told_apart_from_other_updates_on_the_bus(registry: Registry) -> None:
    registry.CreateModelPackageGroup(ModelPackageGroupName="told")
    package = registry.package("told", CustomerMetadataProperties={"job": "a", "old": "x"})
    registry.UpdateModelPackage(ModelPackageArn=package, ModelApprovalStatus="Approved", ApprovalDescription="good")
    registry.UpdateModelPackage(
        ModelPackageArn=package,
        CustomerMetadataProperties={"note": "b"},
        CustomerMetadataPropertiesToRemove=["old"],
    )
    created, approved, noted = registry.events()
    assert (created["ModelApprovalStatus"], created["ModelPackageStatus"]) == ("PendingManualApproval", "Completed")
    assert "UpdatedModelPackageFields" not in created
    assert created["CreationTime"].isdigit()
    assert approved["ModelApprovalStatus"] == noted["ModelApprovalStatus"] == "Approved"
    assert approved["UpdatedModelPackageFields"] == ["ModelApprovalStatus", "ApprovalDescription"]
    assert noted["UpdatedModelPackageFields"] == ["CustomerMetadataProperties"]
    described = registry.DescribeModelPackage(ModelPackageName=package)
    assert described["CustomerMetadataProperties"] == {"job": "a", "note": "b"}
    assert described["LastModifiedTime"] >= described["CreationTime"]


def test_a_package_without_a_group_has_a_name_of_its_own_and_no_approval(registry: Registry) -> None:
    specification = {"Containers": [{"Image": "x", "ModelDataUrl": MODEL}]}
    arn = registry.CreateModelPackage(ModelPackageName="alone", InferenceSpecification=specification)["ModelPackageArn"]
    assert arn == f"{PACKAGE_ARN}/alone"
    assert registry.DescribeModelPackage(ModelPackageName="alone")["ModelPackageName"] == "alone"
    (listed,) = registry.ListModelPackages()["ModelPackageSummaryList"]
    assert listed["ModelPackageArn"] == arn
    with pytest.raises(ServiceError, match="does not apply to unversioned"):
        registry.UpdateModelPackage(ModelPackageArn=arn, ModelApprovalStatus="Approved")


def test_an_update_that_is_refused_changes_nothing(registry: Registry) -> None:
    registry.CreateModelPackageGroup(ModelPackageGroupName="full")
    package = registry.package("full", CustomerMetadataProperties={f"key{n}": "x" for n in range(50)})
    with pytest.raises(ServiceError, match="at most 50 customer metadata properties"):
        registry.UpdateModelPackage(
            ModelPackageArn=package, ModelApprovalStatus="Approved", CustomerMetadataProperties={"one": "more"}
        )
    gone = {"Containers": [{"Image": "x", "ModelDataUrl": "s3://registry-models/gone.tar.gz"}]}
    with pytest.raises(ServiceError, match="Could not find model data"):
        registry.UpdateModelPackage(
            ModelPackageArn=package, ModelApprovalStatus="Approved", InferenceSpecification=gone
        )
    described = registry.DescribeModelPackage(ModelPackageName="full/1")
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert "LastModifiedTime" not in described
    assert len(registry.events()) == 1
    registry.UpdateModelPackage(
        ModelPackageArn=package,
        CustomerMetadataProperties={"one": "more"},
        CustomerMetadataPropertiesToRemove=["key0"],
    )
    assert len(registry.DescribeModelPackage(ModelPackageName="full/1")["CustomerMetadataProperties"]) == 50


def test_an_approval_that_is_said_again_is_an_event_of_its_own_with_its_own_time(registry: Registry) -> None:
    registry.CreateModelPackageGroup(ModelPackageGroupName="again")
    package = registry.package("again", ModelApprovalStatus="Approved")
    for _ in range(2):
        registry.UpdateModelPackage(ModelPackageArn=package, ModelApprovalStatus="Approved")
    new, *updates = registry.events()
    assert "LastModifiedTime" not in new
    for update in updates:
        assert (update["ModelApprovalStatus"], update["UpdatedModelPackageFields"]) == (
            "Approved",
            ["ModelApprovalStatus"],
        )
        assert update["LastModifiedTime"].isdigit()
