"""SageMaker's model registry on this machine: model package groups and their numbered model packages.

Source: the API reference of the operations (https://docs.aws.amazon.com/sagemaker/latest/APIReference/) and, for the
event, https://docs.aws.amazon.com/sagemaker/latest/dg/automating-sagemaker-with-eventbridge.html.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from laptop.account import ACCOUNT_ID, Account
from laptop.errors import ServiceError
from laptop.sagemaker_common import arn, between, epoch_milliseconds, invalid, page, read_tags, split_s3_uri

DEFAULT_PAGE = 100
PROPERTIES_LIMIT = 50
_CREATED_BY = {
    "IamIdentity": {"Arn": f"arn:aws:iam::{ACCOUNT_ID}:root", "PrincipalId": ACCOUNT_ID},
}
# What UpdateModelPackage may change, as it stands in the request and in the package.
_UPDATABLE = (
    "ModelApprovalStatus",
    "ModelPackageRegistrationType",
    "ApprovalDescription",
    "InferenceSpecification",
    "SourceUri",
    "ModelCard",
    "ModelLifeCycle",
)


@dataclass
class Group:
    """A model package group; `last_version` counts on when packages are deleted."""

    name: str
    arn: str
    created: datetime
    description: str | None
    last_version: int = 0


@dataclass
class Package:
    """A model package; a versioned one belongs to a group. `members` are spelled as in DescribeModelPackage."""

    arn: str
    created: datetime
    modified: datetime
    members: dict[str, Any]
    group: str | None
    version: int | None
    name: str | None = None
    updated: bool = False


@dataclass
class Registry:
    """The account's model registry."""

    account: Account
    _groups: dict[str, Group] = field(default_factory=dict)
    _packages: dict[str, Package] = field(default_factory=dict)
    _by_token: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        named = {
            "CreateModelPackageGroup": self._create_group,
            "DescribeModelPackageGroup": self._describe_group,
            "ListModelPackageGroups": self._list_groups,
            "DeleteModelPackageGroup": self._delete_group,
            "CreateModelPackage": self._create_package,
            "DescribeModelPackage": self._describe_package,
            "ListModelPackages": self._list_packages,
            "UpdateModelPackage": self._update_package,
            "DeleteModelPackage": self._delete_package,
        }

        def alone(operation: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
            def run(parameters: dict[str, Any]) -> dict[str, Any]:
                with self._lock:
                    return operation(parameters)

            return run

        return {name: alone(operation) for name, operation in named.items()}

    # -- groups ----------------------------------------------------------------------------------------------------

    def _create_group(self, parameters: dict[str, Any]) -> dict[str, Any]:
        name = parameters["ModelPackageGroupName"]
        group_arn = arn("model-package-group", name)
        if name in self._groups:
            raise invalid(f"Model Package Group already exists: {group_arn}")
        self.account.tags[group_arn] = read_tags(parameters.get("Tags"))
        self._groups[name] = Group(
            name, group_arn, self.account.clock.now(), parameters.get("ModelPackageGroupDescription")
        )
        return {"ModelPackageGroupArn": group_arn}

    def _group(self, arn_or_name: str) -> Group:
        name = arn_or_name.rsplit("/", 1)[-1]
        if name not in self._groups:
            raise invalid(f"ModelPackageGroup {arn('model-package-group', name)} does not exist.")
        return self._groups[name]

    def _describe_group(self, parameters: dict[str, Any]) -> dict[str, Any]:
        group = self._group(parameters["ModelPackageGroupName"])
        return {**_group_summary(group), "CreatedBy": _CREATED_BY}

    def _list_groups(self, parameters: dict[str, Any]) -> dict[str, Any]:
        groups = [
            group
            for group in self._groups.values()
            if parameters.get("NameContains", "").lower() in group.name.lower()
            and between(group.created, parameters.get("CreationTimeAfter"), parameters.get("CreationTimeBefore"))
        ]
        by_name = parameters.get("SortBy") == "Name"
        groups.sort(
            key=lambda group: group.name if by_name else group.created.isoformat(),
            reverse=parameters.get("SortOrder") == "Descending",
        )
        chosen, more = page(groups, parameters, lambda group: group.name, DEFAULT_PAGE)
        return {"ModelPackageGroupSummaryList": [_group_summary(group) for group in chosen], **more}

    def _delete_group(self, parameters: dict[str, Any]) -> dict[str, Any]:
        group = self._group(parameters["ModelPackageGroupName"])
        if any(package.group == group.name for package in self._packages.values()):
            raise ServiceError(
                "ConflictException",
                f"Model Package Group {group.arn} can't be deleted: it contains at least one model package.",
            )
        del self._groups[group.name]
        self.account.tags.pop(group.arn, None)
        return {}

    # -- packages --------------------------------------------------------------------------------------------------

    def _create_package(self, parameters: dict[str, Any]) -> dict[str, Any]:
        token = parameters.get("ClientToken")
        if token in self._by_token:
            earlier, answer = self._by_token[token]
            if earlier != parameters:
                raise ServiceError(
                    "ConflictException", f"The ClientToken {token} was used before with other parameters."
                )
            return answer
        if ("ModelPackageGroupName" in parameters) == ("ModelPackageName" in parameters):
            raise invalid("Give either ModelPackageGroupName, for a versioned model package, or ModelPackageName.")
        if "InferenceSpecification" not in parameters and "SourceAlgorithmSpecification" not in parameters:
            raise invalid("Either InferenceSpecification or SourceAlgorithmSpecification is required.")
        self._assert_model_data(parameters.get("InferenceSpecification", {}))
        package = (
            self._versioned(parameters) if "ModelPackageGroupName" in parameters else self._unversioned(parameters)
        )
        self._packages[package.arn] = package
        self._emit(package)
        answer = {"ModelPackageArn": package.arn}
        if token:
            self._by_token[token] = (parameters, answer)
        return answer

    def _versioned(self, parameters: Mapping[str, Any]) -> Package:
        group = self._group(parameters["ModelPackageGroupName"])
        if parameters.get("Tags"):
            # CreateModelPackage of the API reference: a versioned package has the tags of its group.
            raise invalid("Tags can't be given for a versioned model package: it uses the tags of its group.")
        group.last_version += 1
        package_arn = arn("model-package", f"{group.name}/{group.last_version}")
        self.account.tags[package_arn] = self.account.tags[group.arn]
        members = {"ModelApprovalStatus": "PendingManualApproval", **_members(parameters)}
        now = self.account.clock.now()
        return Package(package_arn, now, now, members, group.name, group.last_version)

    def _unversioned(self, parameters: Mapping[str, Any]) -> Package:
        name = parameters["ModelPackageName"]
        package_arn = arn("model-package", name)
        if package_arn in self._packages:
            raise invalid(f"Model package already exists: {package_arn}")
        if "ModelApprovalStatus" in parameters:
            raise invalid("ModelApprovalStatus does not apply to unversioned model packages.")
        self.account.tags[package_arn] = read_tags(parameters.get("Tags"))
        now = self.account.clock.now()
        return Package(package_arn, now, now, _members(parameters), None, None, name)

    def _assert_model_data(self, specification: Mapping[str, Any]) -> None:
        from botocore.exceptions import ClientError

        for container in specification.get("Containers", []):
            uri = container.get("ModelDataUrl")
            if uri is None or not uri.startswith("s3://"):
                continue
            bucket, key = split_s3_uri(uri)
            try:
                self.account.client("s3").head_object(Bucket=bucket, Key=key)
            except ClientError as error:
                if error.response["ResponseMetadata"].get("HTTPStatusCode") != 404:
                    raise
                raise invalid(f"Could not find model data at {uri}.") from None

    def _package(self, arn_or_name: str) -> Package:
        known = arn_or_name if arn_or_name.startswith("arn:") else arn("model-package", arn_or_name)
        if known not in self._packages:
            raise invalid(f"ModelPackage {known} does not exist.")
        return self._packages[known]

    def _describe_package(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return _description(self._package(parameters["ModelPackageName"]))

    def _list_packages(self, parameters: dict[str, Any]) -> dict[str, Any]:
        group = parameters.get("ModelPackageGroupName")
        name = self._group(group).name if group else None
        kind = parameters.get("ModelPackageType", "Unversioned")
        packages = [
            package
            for package in self._packages.values()
            if (package.group == name if name else kind == "Both" or (package.group is None) == (kind == "Unversioned"))
            and parameters.get("NameContains", "").lower() in (package.name or package.group or "").lower()
            and parameters.get("ModelApprovalStatus") in (None, package.members.get("ModelApprovalStatus"))
            and between(package.created, parameters.get("CreationTimeAfter"), parameters.get("CreationTimeBefore"))
        ]
        by_name = parameters.get("SortBy") == "Name"
        packages.sort(
            key=lambda package: (
                (package.name or package.group) if by_name else package.created.isoformat(),
                package.version or 0,
            ),
            reverse=parameters.get("SortOrder") == "Descending",
        )
        chosen, more = page(packages, parameters, lambda package: package.arn, DEFAULT_PAGE)
        wanted = (
            "ModelPackageName",
            "ModelPackageGroupName",
            "ModelPackageVersion",
            "ModelPackageArn",
            "ModelPackageDescription",
            "CreationTime",
            "ModelPackageStatus",
            "ModelApprovalStatus",
            "ModelLifeCycle",
            "ModelPackageRegistrationType",
        )
        summaries = [
            {key: value for key, value in _description(package).items() if key in wanted} for package in chosen
        ]
        return {"ModelPackageSummaryList": summaries, **more}

    def _update_package(self, parameters: dict[str, Any]) -> dict[str, Any]:
        package = self._package(parameters["ModelPackageArn"])
        if package.version is None and "ModelApprovalStatus" in parameters:
            raise invalid("ModelApprovalStatus does not apply to unversioned model packages.")
        self._assert_model_data(parameters.get("InferenceSpecification", {}))
        changed = [name for name in _UPDATABLE if name in parameters]
        members = {name: parameters[name] for name in changed}
        if "CustomerMetadataProperties" in parameters or "CustomerMetadataPropertiesToRemove" in parameters:
            properties = package.members.get("CustomerMetadataProperties", {})
            properties = {**properties, **parameters.get("CustomerMetadataProperties", {})}
            for name in parameters.get("CustomerMetadataPropertiesToRemove", []):
                properties.pop(name, None)
            if len(properties) > PROPERTIES_LIMIT:
                # CustomerMetadataProperties, CreateModelPackage: at most 50 entries; so also after an update
                raise invalid(f"A model package has at most {PROPERTIES_LIMIT} customer metadata properties.")
            members["CustomerMetadataProperties"] = properties
            changed.append("CustomerMetadataProperties")
        package.members.update(members)
        if more := parameters.get("AdditionalInferenceSpecificationsToAdd"):
            package.members.setdefault("AdditionalInferenceSpecifications", []).extend(more)
            changed.append("AdditionalInferenceSpecifications")
        package.modified, package.updated = self.account.clock.now(), True
        self._emit(package, changed)
        return {"ModelPackageArn": package.arn}

    def _delete_package(self, parameters: dict[str, Any]) -> dict[str, Any]:
        package = self._package(parameters["ModelPackageName"])
        del self._packages[package.arn]
        self.account.tags.pop(package.arn, None)
        return {}

    def _emit(self, package: Package, changed: list[str] | None = None) -> None:
        """The event of a new package, and of every update: an approval can be told by UpdatedModelPackageFields."""
        detail = {
            name: epoch_milliseconds(value) if isinstance(value, datetime) else value
            for name, value in _description(package).items()
        }
        if changed is not None:
            detail["UpdatedModelPackageFields"] = changed
        self.account.events.put("aws.sagemaker", "SageMaker Model Package State Change", detail, (package.arn,))


def _members(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What of a CreateModelPackage request stands in the package as it is."""
    apart = ("ModelPackageGroupName", "ModelPackageName", "ClientToken", "Tags")
    return {name: value for name, value in parameters.items() if name not in apart}


def _description(package: Package) -> dict[str, Any]:
    known = {
        "ModelPackageName": package.name,
        "ModelPackageGroupName": package.group,
        "ModelPackageVersion": package.version,
        "ModelPackageArn": package.arn,
        "CreationTime": package.created,
        "CreatedBy": _CREATED_BY,
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CertifyForMarketplace": False,
        **package.members,
        **({"LastModifiedTime": package.modified, "LastModifiedBy": _CREATED_BY} if package.updated else {}),
    }
    return {name: value for name, value in known.items() if value is not None}


def _group_summary(group: Group) -> dict[str, Any]:
    known = {
        "ModelPackageGroupName": group.name,
        "ModelPackageGroupArn": group.arn,
        "ModelPackageGroupDescription": group.description,
        "CreationTime": group.created,
        "ModelPackageGroupStatus": "Completed",
    }
    return {name: value for name, value in known.items() if value is not None}


def install(account: Account) -> None:
    """Registers the operations of the model registry."""
    account.operations.setdefault("sagemaker", {}).update(Registry(account).operations())
