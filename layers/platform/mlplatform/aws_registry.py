"""What is read and written in SageMaker's model registry: a part of Aws (aws.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any, TypeVar

from mlplatform import names, registry
from mlplatform.aws_calls import is_there
from mlplatform.aws_cards import CardCalls
from mlplatform.decisions import AskApproval, DeployModel, KeepLiveModel, RecordLineage
from mlplatform.facts import Approval, ModelPackage

Registered = TypeVar("Registered", KeepLiveModel, AskApproval)


class RegistryCalls(CardCalls):
    """Mixed into Aws."""

    # ---- facts ----

    def model_package(self, arn: str) -> ModelPackage | None:
        found = self._found("sagemaker", "describe_model_package", ModelPackageName=arn)
        if found is None:
            return None
        group = arn.rpartition("/")[0].replace(":model-package/", ":model-package-group/")
        return replace(read_package(found), tags=self._tags(group))

    def live_version(self, group: str, model: str) -> int | None:
        """The number of the package whose model serves under that name; None where none of the newest hundred is it."""
        wanted = registry.package_description(model)
        for summary in self._newest_packages(group):
            version = int(summary["ModelPackageVersion"])
            if summary.get("ModelPackageDescription", "").startswith(wanted) or model == names.package_model(
                group, version
            ):
                return version
        return None

    def _newest_packages(self, group: str) -> list[dict[str, Any]]:
        page = self._call(
            "sagemaker",
            "list_model_packages",
            ModelPackageGroupName=group,
            SortBy="CreationTime",
            SortOrder="Descending",
            MaxResults=100,
        )
        found: list[dict[str, Any]] = page["ModelPackageSummaryList"]
        return found

    def newest_approvals(self) -> Iterator[ModelPackage]:
        """The newest approved package of each of the stack's groups."""
        prefix = f"{self._settings.stack_name}-"
        for page in self._pages("sagemaker", "list_model_package_groups", NameContains=prefix, MaxResults=100):
            for group in page["ModelPackageGroupSummaryList"]:
                name = group["ModelPackageGroupName"]
                if not name.startswith(prefix):
                    continue
                newest = self._call(
                    "sagemaker",
                    "list_model_packages",
                    ModelPackageGroupName=name,
                    ModelApprovalStatus=Approval.APPROVED.value,
                    SortBy="CreationTime",
                    SortOrder="Descending",
                    MaxResults=1,
                )["ModelPackageSummaryList"]
                package = self.model_package(newest[0]["ModelPackageArn"]) if newest else None
                if package is not None:
                    yield package

    def acted_upon(self, dataset: str, version: int, stamp: str = "") -> bool:
        """Whether a change of a package was acted upon in any way; without a stamp, whether it was ever deployed."""
        prefix = names.releases_prefix(dataset, version, stamp)
        page = self._call("s3", "list_objects_v2", Bucket=self._settings.artifact_bucket, Prefix=prefix, MaxKeys=100)
        keys = [entry["Key"] for entry in page.get("Contents", [])]
        return any(stamp or not key.endswith(names.ASKED_SUFFIX) for key in keys)

    # ---- decisions ----

    def _register(self, decision: DeployModel | KeepLiveModel | AskApproval) -> str:
        """The model card, then the package, in a group that is made with the first one. The package's ARN."""
        assert decision.model_package is not None
        assert decision.card is not None
        self._put_card(decision.dataset, decision.job_name, decision.card)
        self._put_page(decision.page)
        group = decision.model_package["ModelPackageGroupName"]
        self._unless(
            is_there,
            "sagemaker",
            "create_model_package_group",
            ModelPackageGroupName=group,
            ModelPackageGroupDescription=f"Models trained on the dataset {decision.dataset}",
            Tags=names.tag_list(
                names.tags(self._settings.required_tags, stack=self._settings.stack_name, dataset=decision.dataset)
            ),
        )
        # Of the newest hundred: only a job whose event was just handled half-way is looked for.
        begins = registry.package_description(decision.job_name)
        for summary in self._newest_packages(group):
            if summary.get("ModelPackageDescription", "").startswith(begins):
                return str(summary["ModelPackageArn"])
        return str(self._call("sagemaker", "create_model_package", **decision.model_package)["ModelPackageArn"])

    def _record_lineage(self, decision: RecordLineage) -> RecordLineage:
        self._call("sagemaker", "update_model_package", **decision.update)
        self._put_once(self._settings.artifact_bucket, decision.done, {"reason": decision.reason})
        return decision

    def _registered(self, decision: Registered) -> Registered:
        """The decision with its package, which is registered, or gets the status that it should have."""
        if decision.model_package is not None:
            return replace(decision, package=self._register(decision))
        self._put_page(decision.page)
        if decision.update is not None:
            self._call("sagemaker", "update_model_package", **decision.update)
        return decision


def read_package(found: Mapping[str, Any]) -> ModelPackage:
    """From DescribeModelPackage. Of several containers, which the platform never registers, it is the first."""
    specification = found.get("InferenceSpecification", {})
    container: Mapping[str, Any] = next(iter(specification.get("Containers", [])), {})
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    created = found["CreationTime"].astimezone(UTC)
    return ModelPackage(
        arn=found["ModelPackageArn"],
        group=found["ModelPackageGroupName"],
        version=int(found["ModelPackageVersion"]),
        approval=Approval(found["ModelApprovalStatus"]),
        description=found.get("ModelPackageDescription", ""),
        image=container.get("Image", ""),
        artifact_uri=container.get("ModelDataUrl") or source.get("S3Uri", ""),
        environment=container.get("Environment", {}),
        properties=found.get("CustomerMetadataProperties", {}),
        created=created,
        modified=found["LastModifiedTime"].astimezone(UTC) if "LastModifiedTime" in found else created,
        approval_description=found.get("ApprovalDescription", ""),
    )
