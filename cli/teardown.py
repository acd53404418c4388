"""`mlp teardown`: the stack and everything that its functions made, ended in a legal order, with a proof at the end."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from rich.table import Table

from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import prices
from mlplatform.aws_owned import end, read_owned
from mlplatform.errors import UnknownPrice
from mlplatform.facts import Owned, OwnedKind
from mlplatform.teardown import plan_teardown, said

console = Terminal(highlight=False)

_GIB = 1024**3
_LONGEST_SECONDS = 3600.0  # CloudFormation waits as long for the function that ends what functions made
_SERVICES: dict[OwnedKind, str] = {
    "inference-component": "SageMaker",
    "component-scaling": "Application Auto Scaling",
    "scaling-target": "Application Auto Scaling",
    "log-group": "CloudWatch Logs",
    "alarm": "CloudWatch",
    "parameter": "Systems Manager",
}
# Storage classes that the buckets' lifecycle uses, and their row in the price list.
_STORAGE = {
    "STANDARD": "s3.gb_month.standard",
    "STANDARD_IA": "s3.gb_month.standard_ia",
    "GLACIER_IR": "s3.gb_month.glacier_ir",
}


@dataclass(frozen=True)
class Kept:
    """A bucket that outlives the stack: whose data it holds is not the stack's to decide."""

    bucket: str
    objects: int  # old versions counted
    size_bytes: int
    usd_per_month: Decimal | None  # None: a storage class without a price


def teardown(
    context: typer.Context,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it is only shown.")] = False,
    data: Annotated[
        bool, typer.Option("--data", help="The two buckets as well: datasets, models and reports.")
    ] = False,
) -> None:
    """Remove the stack and everything that it made, and show that nothing billable is left.

    Without --yes nothing is changed. Interrupted, it goes on where it stopped when it is called again.

    Example: `mlp teardown`, `mlp teardown --yes`, `mlp teardown --yes --data`
    """
    connection: Connection = context.obj
    if yes:
        try:
            sys.exit(remove(connection, data=data))
        except KeyboardInterrupt:
            again = f"mlp teardown --yes{' --data' if data else ''}"
            console.print(f"\nnot at its end: what was begun goes on, and {again} does the rest")
            raise typer.Exit(130) from None
    stack, owned, buckets = _look(connection)
    _show(connection, stack, owned, buckets, data)


def remove(connection: Connection, *, data: bool) -> int:
    """Does it, with progress; the exit code, 0 where nothing billable is left. Raises CommandError."""
    stack, _, buckets = _look(connection)
    if stack is not None and stack["StackStatus"] != "DELETE_COMPLETE":
        _delete_stack(connection, stack)
    _end_rest(connection)
    if data:
        for bucket in buckets:
            _empty(connection, bucket)
            connection.s3.delete_bucket(Bucket=bucket)
            console.print(f"the bucket {bucket} is deleted", markup=False)
    return _prove(connection, stack)


# ---- what there is ----


def _look(connection: Connection) -> tuple[dict[str, Any] | None, tuple[Owned, ...], list[str]]:
    """The stack, what its functions made, and its buckets. Raises CommandError where there is nothing of it."""
    stack = _newest(connection)
    owned, buckets = read_owned(connection.call, connection.stack), _buckets(connection, stack)
    if (stack is None or stack["StackStatus"] == "DELETE_COMPLETE") and not owned and not buckets:
        raise CommandError(f"There is no stack {connection.stack} here, and nothing that one of that name has left.")
    return stack, owned, buckets


def _newest(connection: Connection) -> dict[str, Any] | None:
    """The stack; one that is gone already is told of for 90 days (ListStacks, CloudFormation API reference)."""
    cloudformation = connection.client("cloudformation")
    try:
        found: dict[str, Any] = cloudformation.describe_stacks(StackName=connection.stack)["Stacks"][0]
        return found
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
    gone = [
        entry
        for page in cloudformation.get_paginator("list_stacks").paginate(StackStatusFilter=["DELETE_COMPLETE"])
        for entry in page["StackSummaries"]
        if entry["StackName"] == connection.stack
    ]
    return max(gone, key=lambda entry: entry["DeletionTime"]) if gone else None


def _resources(connection: Connection, stack: dict[str, Any] | None) -> list[dict[str, Any]]:
    if stack is None:
        return []
    pages = connection.client("cloudformation").get_paginator("list_stack_resources")
    return [entry for page in pages.paginate(StackName=stack["StackId"]) for entry in page["StackResourceSummaries"]]


def _buckets(connection: Connection, stack: dict[str, Any] | None) -> list[str]:
    """Those of the stack that are there."""
    there = {bucket["Name"] for bucket in connection.s3.list_buckets()["Buckets"]}
    return [
        entry["PhysicalResourceId"]
        for entry in _resources(connection, stack)
        if entry["ResourceType"] == "AWS::S3::Bucket" and entry.get("PhysicalResourceId") in there
    ]


def _kept(connection: Connection, bucket: str) -> Kept:
    sizes: Counter[str] = Counter()
    count = 0
    for version in _versions(connection, bucket, "Versions"):
        sizes[version.get("StorageClass", "STANDARD")] += version["Size"]
        count += 1
    region = connection.sagemaker.meta.region_name
    try:
        usd: Decimal | None = sum(
            (Decimal(size) / _GIB * prices.usd(_STORAGE[kind], region) for kind, size in sizes.items()), Decimal(0)
        )
    except (KeyError, UnknownPrice):
        usd = None
    return Kept(bucket, count, sum(sizes.values()), usd)


def _versions(connection: Connection, bucket: str, *members: str) -> Iterator[dict[str, Any]]:
    for page in connection.s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for member in members:
            yield from page.get(member, [])


def _show(
    connection: Connection,
    stack: dict[str, Any] | None,
    owned: tuple[Owned, ...],
    buckets: list[str],
    data: bool,
) -> None:
    alive = [entry for entry in _resources(connection, stack) if entry["ResourceStatus"] != "DELETE_COMPLETE"]
    console.print(f"would end what functions made: {said(owned)}")
    for one in owned:
        console.print(f"   {one.kind:<20} {one.name}{f' ({one.state})' if one.state else ''}", markup=False)
    if stack is not None and stack["StackStatus"] == "DELETE_IN_PROGRESS":
        console.print(f"the stack {connection.stack} is being deleted: {len(alive)} resources are left")
    elif stack is not None and stack["StackStatus"] != "DELETE_COMPLETE":
        console.print(f"would delete the stack {connection.stack}: {len(alive)} resources")
    for bucket in buckets:
        kept = _kept(connection, bucket)
        verb = "would delete" if data else "would keep"
        console.print(f"{verb} the bucket {bucket}: {_told(kept)}")
    console.print(f"Nothing was changed. To do it: mlp teardown --yes{' --data' if data else ''}")


def _told(kept: Kept) -> str:
    usd = "cost unknown" if kept.usd_per_month is None else f"${kept.usd_per_month:.4f} a month"
    return f"{kept.objects} objects, {kept.size_bytes / 1024**2:.1f} MiB, {usd}"


def what_it_costs(kept: list[Kept]) -> str:
    """Of the buckets that were kept, a sentence."""
    known = [bucket.usd_per_month for bucket in kept if bucket.usd_per_month is not None]
    unknown = [bucket.bucket for bucket in kept if bucket.usd_per_month is None]
    if not unknown:
        return f"What was kept costs ${sum(known):.4f} a month."
    of = f"What {' and '.join(unknown)} costs is unknown"
    return f"{of}; the rest that was kept costs ${sum(known):.4f} a month." if known else f"{of}."


# ---- doing it ----


def _delete_stack(connection: Connection, stack: dict[str, Any]) -> None:
    """Tells CloudFormation's events as they come. Raises CommandError if the stack does not go."""
    cloudformation = connection.client("cloudformation")
    seen = {event["EventId"] for event in _events(connection, stack)}
    total = len(_resources(connection, stack))
    if stack["StackStatus"] != "DELETE_IN_PROGRESS":
        try:
            cloudformation.delete_stack(StackName=stack["StackId"])
        except ClientError as error:
            if "TerminationProtection" in str(error):
                raise CommandError(
                    f"{connection.stack} is protected against termination. Lift that first: aws cloudformation "
                    f"update-termination-protection --no-enable-termination-protection --stack-name {connection.stack}"
                ) from error
            raise
    limit = time.monotonic() + 2 * _LONGEST_SECONDS
    failures: dict[str, str] = {}
    gone: set[str] = set()
    with console.status("deleting the stack") as progress:
        while True:
            status = cloudformation.describe_stacks(StackName=stack["StackId"])["Stacks"][0]["StackStatus"]
            for event in reversed([one for one in _events(connection, stack) if one["EventId"] not in seen]):
                seen.add(event["EventId"])
                name, state = event["LogicalResourceId"], event["ResourceStatus"]
                if state == "DELETE_FAILED":
                    failures[name] = event.get("ResourceStatusReason", "")
                if state in ("DELETE_COMPLETE", "DELETE_SKIPPED") and name != connection.stack:
                    gone.add(name)
                progress.update(f"{len(gone)} of {total} resources; {name} is {state}")
            if status == "DELETE_COMPLETE":
                console.print(f"the stack {connection.stack} is deleted: {total} resources")
                return
            if status != "DELETE_IN_PROGRESS":
                why = "; ".join(f"{name}: {reason}" for name, reason in failures.items())
                raise CommandError(f"{connection.stack} is {status}. {why} Mend that and call `mlp teardown` again.")
            if time.monotonic() > limit:
                raise CommandError(f"{connection.stack} did not go within two hours; call `mlp teardown` to go on.")
            time.sleep(0.5 if connection.endpoint_url else 5)


def _events(connection: Connection, stack: dict[str, Any]) -> list[dict[str, Any]]:
    """Newest first, the newest page."""
    found: list[dict[str, Any]] = connection.client("cloudformation").describe_stack_events(StackName=stack["StackId"])[
        "StackEvents"
    ]
    return found


def _end_rest(connection: Connection) -> None:
    """What the stack's own function ends as a rule: it may have been deleted before it was done."""
    limit = time.monotonic() + _LONGEST_SECONDS
    while owned := read_owned(connection.call, connection.stack):
        step = plan_teardown(owned, connection.stack)
        for decision in step.ends:
            end(connection.call, decision)
            console.print(f"   {decision.reason}", markup=False)
        if step.waiting:
            if time.monotonic() > limit:
                raise CommandError(f"{said(step.waiting)} did not go within an hour; call `mlp teardown` again.")
            time.sleep(2)


def _empty(connection: Connection, bucket: str) -> None:
    """Every version and delete marker, a thousand a call (DeleteObjects, S3 API reference)."""
    waiting: list[dict[str, str]] = []
    with console.status(f"emptying {bucket}"):
        for version in _versions(connection, bucket, "Versions", "DeleteMarkers"):
            waiting.append({"Key": version["Key"], "VersionId": version["VersionId"]})
            if len(waiting) == 1000:
                _delete(connection, bucket, waiting)
                waiting = []
        if waiting:
            _delete(connection, bucket, waiting)


def _delete(connection: Connection, bucket: str, versions: list[dict[str, str]]) -> None:
    answer = connection.s3.delete_objects(Bucket=bucket, Delete={"Objects": versions, "Quiet": True})
    for error in answer.get("Errors", ()):
        raise CommandError(f"{error['Key']} in {bucket} could not be deleted: {error.get('Message')}.")


# ---- the proof ----


def _prove(connection: Connection, stack: dict[str, Any] | None) -> int:
    """Looks at the account once more, service by service; the exit code."""
    ended: Counter[str] = Counter()
    left: dict[str, list[str]] = {}
    buckets = _buckets(connection, stack)
    for entry in _resources(connection, stack):
        vendor, service = entry["ResourceType"].split("::")[:2]
        service = service if vendor == "AWS" else "Custom"
        if entry["ResourceStatus"] == "DELETE_COMPLETE":
            ended[service] += 1
        elif entry["ResourceStatus"] != "DELETE_SKIPPED" or service != "S3":
            left.setdefault(service, []).append(entry["LogicalResourceId"])
    for one in read_owned(connection.call, connection.stack):
        left.setdefault(_SERVICES.get(one.kind, "SageMaker"), []).append(f"{one.kind} {one.name}")
    table = Table("service", "deleted with the stack", "left", box=None, pad_edge=False)
    for service in sorted({*ended, *left, "SageMaker"}):
        names = left.get(service, [])
        table.add_row(service, str(ended[service]), "; ".join(names) or "nothing", style="red" if names else "")
    console.print(table)
    kept = [_kept(connection, bucket) for bucket in buckets]
    for bucket in kept:
        console.print(f"kept: bucket {bucket.bucket}, {_told(bucket)}", markup=False)
    if left:
        console.print("[red]Something billable may be left: see above, and call `mlp teardown --yes` again.[/red]")
        return 1
    rest = what_it_costs(kept) if kept else "No bucket was kept."
    console.print(f"[green]Nothing billable of {connection.stack} is left.[/green] {rest}")
    return 0
