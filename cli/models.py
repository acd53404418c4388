"""A dataset's models: what is registered, and a person's word on them. Whatever this does, any registry client can."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from rich.table import Table

from cli import hours
from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import names, registry
from mlplatform.aws_registry import read_package
from mlplatform.experiments import AbTest, wanted_test
from mlplatform.facts import Approval, ModelPackage

console = Terminal()
_PATIENCE_SECONDS = 60.0
_MOST = 100  # packages of a dataset that are described, a call each
_APPROVALS = {Approval.APPROVED: "approved", Approval.REJECTED: "rejected", Approval.PENDING: "waits"}
Package = Annotated[str, typer.Argument(help="Such as churn/3, or an ARN.", metavar="DATASET/VERSION")]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the model.")]


@dataclass(frozen=True)
class Group:
    """The newest registered models of one dataset, newest first, and which of them is live."""

    dataset: str
    packages: tuple[ModelPackage, ...]
    live: ModelPackage | None  # or what will be: the endpoint is on the way to it, or stopped
    parked: bool
    failed: bool = False  # the endpoint could not be updated to it
    challenger: ModelPackage | None = None  # that an A/B test puts beside the live one, or is to
    share: float = 0  # of the traffic, that it is to get

    def version(self, number: int) -> ModelPackage:
        """Raises CommandError where there is none."""
        for package in self.packages:
            if package.version == number:
                return package
        raise CommandError(f"{self.dataset} has no model {number}. `mlp models {self.dataset}` shows what there is.")


def models(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
) -> None:
    """A dataset's models: approval, metric, cost, and which one is live.

    Example: `mlp models churn`
    """
    group = read_group(context.obj, dataset)
    console.print(table(group), soft_wrap=False)
    for package in group.packages:
        if package.approval is Approval.PENDING:
            console.print(waits(f"{group.dataset}/{package.version}"), highlight=False)


def waits(name: str) -> str:
    """What a person is told of a model that nobody has answered for."""
    return f"{name} waits: mlp approve {name}, or mlp reject {name} --reason TEXT"


def table(group: Group) -> Table:
    """The models of a dataset, the newest first; a metric that all of them have stands in the heading."""
    objectives = {package.properties.get("objective", "") for package in group.packages} - {""}
    metric = objectives.pop() if len(objectives) == 1 else ""
    shown = Table(box=None, pad_edge=False)
    for column in ("model", "", "gate", metric or "metric", "USD a\nmonth", "training\nUSD", "registered"):
        shown.add_column(column, overflow="fold", no_wrap=column in ("model", ""))
    for package in group.packages:
        said = package.properties
        objective = said.get("objective", "")
        score = said.get(f"test_{objective}", "")
        shown.add_row(
            f"{group.dataset}/{package.version}",
            _state(group, package),
            said.get("gate", "none"),
            f"{'' if metric else objective} {float(score):.4f}".strip() if score else "",
            said.get("hosting_usd_per_month", ""),
            said.get("training_usd", ""),
            f"{package.created:%Y-%m-%d %H:%M}",
        )
    return shown


def _state(group: Group, package: ModelPackage) -> str:
    """Whether it serves, and what people said of it."""
    state = _APPROVALS[package.approval]
    if package is group.challenger:
        serves = f"challenger, {group.share * 100:g} %"
    elif package is group.live:
        serves = "live"
    else:
        return state
    parts = [serves, "stopped" if group.parked else "", state if state != "approved" else ""]
    return ", ".join(part for part in parts if part)


def approve(
    context: typer.Context,
    package: Annotated[
        str,
        typer.Argument(help="A dataset of which one model waits, or a model.", metavar="DATASET|DATASET/VERSION"),
    ],
    reason: Reason = "",
    force: Annotated[bool, typer.Option("--force", help="Although it failed its gate; name the model.")] = False,
) -> None:
    """Approve a model; it is deployed at once, or with its stopped endpoint. An older one is a rollback.

    Example: `mlp approve churn`, `mlp approve churn/3 --reason "checked by hand"`
    """
    connection: Connection = context.obj
    group, chosen = find(connection, package)
    if chosen is None:
        waiting = [one for one in group.packages if one.approval is Approval.PENDING]
        if force:
            raise CommandError(f"--force needs the model's name, such as {group.dataset}/{group.packages[0].version}.")
        if not waiting:
            live = f" {group.dataset}/{group.live.version} is live." if group.live else ""
            raise CommandError(
                f"No model of {group.dataset} waits for approval.{live} To deploy another one, name it; "
                f"mlp models {group.dataset} shows what there is."
            )
        if len(waiting) > 1:
            several = ", ".join(f"{group.dataset}/{one.version}" for one in waiting)
            raise CommandError(
                f"Of the models of {group.dataset}, these wait for approval: {several}. Name one, as in "
                f"mlp approve {group.dataset}/{group.packages[0].version}."
            )
        [chosen] = waiting
    name = f"{group.dataset}/{chosen.version}"
    if chosen is group.live and chosen.approval is Approval.APPROVED and not group.failed:
        console.print(f"{name} is approved and live already", highlight=False)
        return
    if not registry.passed_gate(chosen) and not force:
        raise CommandError(
            f"{name} failed its gate: {registry.gate_said(chosen)} To deploy it all the same: mlp approve {name} "
            "--force --reason TEXT."
        )
    if force and not reason:
        raise CommandError("--force needs --reason: both are kept with the model.")
    by = who(connection)
    said = {"approved_by": by}
    if force and not registry.passed_gate(chosen):
        said |= {"forced_by": by, "forced_at": f"{connection.now():%Y-%m-%dT%H:%M:%SZ}", "forced_because": reason}
    release(connection, group, chosen, reason, said)


def reject(context: typer.Context, package: Package, reason: Reason) -> None:
    """Reject a model. One that is live stays so; `mlp rollback` puts another in its place.

    Example: `mlp reject churn/3 --reason "the label leaks"`
    """
    connection: Connection = context.obj
    group, chosen = find(connection, package)
    if chosen is None:
        raise CommandError(f"Name the model, such as {group.dataset}/{group.packages[0].version}.")
    connection.sagemaker.update_model_package(
        ModelPackageArn=chosen.arn,
        ModelApprovalStatus=Approval.REJECTED.value,
        ApprovalDescription=registry.answer(reason, chosen),
        CustomerMetadataProperties=registry.properties({"rejected_by": who(connection)}),
    )
    console.print(f"{group.dataset}/{chosen.version} is rejected", highlight=False)
    if chosen is group.live:
        console.print(f"it is live and stays so; to go back: mlp rollback {group.dataset}", highlight=False)


def rollback(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    to: Annotated[int | None, typer.Option(help="The model's number; by default the one that was live before.")] = None,
    reason: Reason = "",
) -> None:
    """Go back to the approved model that was live before, with no downtime; the one that is live is rejected.

    Example: `mlp rollback churn`, `mlp rollback churn --to 3 --reason "wrong answers for new customers"`
    """
    connection: Connection = context.obj
    group = read_group(connection, dataset)
    if group.live is None:
        raise CommandError(f"No model of {dataset} is live. `mlp models {dataset}` shows what there is.")
    chosen = group.version(to) if to is not None else _before(connection, group)
    name, bad = f"{group.dataset}/{chosen.version}", group.live
    if chosen is bad:
        raise CommandError(f"{name} is live already.")
    if not registry.passed_gate(chosen) and "forced_by" not in chosen.properties:
        raise CommandError(f"{name} failed its gate. If you want it all the same: mlp approve {name} --force.")
    by = who(connection)
    because = reason or f"Rolled back from {group.dataset}/{bad.version}"
    release(connection, group, chosen, because, {"approved_by": by})
    connection.sagemaker.update_model_package(
        ModelPackageArn=bad.arn,
        ModelApprovalStatus=Approval.REJECTED.value,
        ApprovalDescription=registry.answer(reason or f"Rolled back to {name}", bad),
        CustomerMetadataProperties=registry.properties({"rejected_by": by, "rolled_back_to": str(chosen.version)}),
    )
    console.print(f"{group.dataset}/{bad.version} is rejected", highlight=False)


def read_group(connection: Connection, dataset: str) -> Group:
    """Raises CommandError where nothing is registered for the dataset."""
    dataset = dataset.removeprefix(f"{connection.stack}-")
    group = connection.endpoint_name(dataset)
    try:
        packages = tuple(islice(_packages(connection, group), _MOST))
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        packages = ()
    if not packages:
        raise CommandError(f"No model of {dataset} is registered. `mlp status` shows the datasets.")
    model, test, parked, failed = _wanted(connection, dataset)
    live = next((package for package in packages if registry.model_name(package) == model), None)
    challenger = next((package for package in packages if test and package.version == test.version), None)
    return Group(dataset, packages, live, parked, failed, challenger, test.weight if test else 0)


def _packages(connection: Connection, group: str) -> Iterator[ModelPackage]:
    pages = connection.sagemaker.get_paginator("list_model_packages").paginate(
        ModelPackageGroupName=group, SortBy="CreationTime", SortOrder="Descending"
    )
    for page in pages:
        for summary in page["ModelPackageSummaryList"]:
            found = connection.sagemaker.describe_model_package(ModelPackageName=summary["ModelPackageArn"])
            yield read_package(found)


def _wanted(connection: Connection, dataset: str) -> tuple[str | None, AbTest | None, bool, bool]:
    """The model that the endpoint serves, or is to serve, and its A/B test, if any; whether it is stopped; and whether
    its last update failed."""
    try:
        found = hours.find(connection, dataset)
    except CommandError:
        return None, None, False, False
    tags, running = found.hosted.tags, found.endpoint
    failed = running is not None and running.failure_reason is not None
    return tags.get(names.WANTED_TAG), wanted_test(tags), running is None, failed


def find(connection: Connection, text: str) -> tuple[Group, ModelPackage | None]:
    """From churn, churn/3, ml-platform-churn/3 or an ARN. Raises CommandError."""
    dataset, _, version = text.rpartition("model-package/")[2].partition("/")
    if version and not version.isdecimal():
        raise CommandError(f"{text} names no model; write such as churn/3.")
    group = read_group(connection, dataset)
    return group, group.version(int(version)) if version else None


def who(connection: Connection) -> str:
    """The ARN of who gives the command."""
    return str(connection.client("sts").get_caller_identity()["Arn"])


def _before(connection: Connection, group: Group) -> ModelPackage:
    """The approved model that was deployed last before the live one; else the newest approved one below it."""
    assert group.live is not None
    approved = {
        package.version: package
        for package in group.packages
        if package.approval is Approval.APPROVED and package is not group.live
    }
    for version in _deployed(connection, group.dataset):
        if version in approved:
            return approved[version]
    older = [version for version in approved if version < group.live.version]
    if not older:
        raise CommandError(
            f"{group.dataset} has no other approved model to go back to. `mlp models {group.dataset}` shows what there "
            f"is; `mlp rollback {group.dataset} --to VERSION` takes any that passed its gate."
        )
    return approved[max(older)]


def _deployed(connection: Connection, dataset: str) -> Iterator[int]:
    """The numbers of the models that were deployed, the last one first."""
    records = [entry for entry in _records(connection, names.releases_prefix(dataset)) if not entry["asked"]]
    for entry in sorted(records, key=lambda one: (one["at"], one["version"]), reverse=True):
        yield entry["version"]


def _records(connection: Connection, prefix: str) -> list[dict[str, Any]]:
    bucket = connection.outputs["ArtifactBucketName"]
    pages = connection.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [
        {
            "key": entry["Key"],
            "at": entry["LastModified"],
            "version": int(entry["Key"].rsplit("/", 1)[-1].partition("-")[0]),
            "asked": entry["Key"].endswith(names.ASKED_SUFFIX),
        }
        for page in pages
        for entry in page.get("Contents", [])
    ]


def release(connection: Connection, group: Group, package: ModelPackage, reason: str, said: dict[str, str]) -> None:
    """Approves, and waits to say what came of it. One that is approved already is set back first: only a change of the
    approval deploys."""
    prefix = names.releases_prefix(group.dataset, package.version)
    before = {entry["key"] for entry in _records(connection, prefix)}
    if package.approval is Approval.APPROVED:
        connection.sagemaker.update_model_package(
            ModelPackageArn=package.arn, ModelApprovalStatus=Approval.PENDING.value
        )
        _wait_for_another_second(connection)
    connection.sagemaker.update_model_package(
        ModelPackageArn=package.arn,
        ModelApprovalStatus=Approval.APPROVED.value,
        ApprovalDescription=registry.answer(reason, package),
        CustomerMetadataProperties=registry.properties(said),
    )
    name = f"{group.dataset}/{package.version}"
    console.print(f"{name} is approved", highlight=False)
    bucket, deadline = connection.outputs["ArtifactBucketName"], time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for entry in _records(connection, prefix):
            if entry["key"] not in before:
                stored = connection.s3.get_object(Bucket=bucket, Key=entry["key"])["Body"].read()
                console.print(json.loads(stored)["reason"], highlight=False)
                return
        time.sleep(0.2 if connection.endpoint_url else 2.0)
    raise CommandError(f"Nothing has come of the approval of {name} yet. `mlp logs deploy-model` may say why.")


def _wait_for_another_second(connection: Connection) -> None:
    """Times in events may count whole seconds, and two changes have to be told apart by them."""
    if connection.endpoint_url is None:
        time.sleep(1.1 - datetime.now(UTC).microsecond / 1e6)
