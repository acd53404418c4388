"""The stacks of an account's CloudFormation: made, changed and removed resource by resource, and rolled back.

Each runs on a thread of its own, and what became of it is told as events.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.cloudformation_plan import Plan
from laptop.cloudformation_template import Scope, in_order, refused, uses
from laptop.cloudformation_types import Context, Made, ResourceFailure, kind_of, text
from laptop.errors import ServiceError
from laptop.runtime_api import CallbackListener

_STACK_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")


@dataclass
class Resource:
    """A resource of a stack: what was asked for, and what was made."""

    logical_id: str
    type: str
    properties: dict[str, Any]
    definition: dict[str, Any]
    made: Made | None
    status: str
    reason: str | None
    at: datetime


@dataclass
class Stack:
    """A stack as it is."""

    name: str
    id: str
    plan: Plan
    tags: dict[str, str]
    capabilities: list[str]
    options: dict[str, Any]
    created: datetime
    status: str
    reason: str | None = None
    updated: datetime | None = None
    deleted: datetime | None = None
    change_set_id: str | None = None
    resources: dict[str, Resource] = field(default_factory=dict)
    gone: dict[str, Resource] = field(default_factory=dict)  # what a deletion has deleted, or left to itself
    outputs: list[dict[str, str]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    settled: threading.Event = field(default_factory=threading.Event)

    @property
    def made(self) -> dict[str, Made]:
        return {name: resource.made for name, resource in self.resources.items() if resource.made is not None}

    @property
    def listed(self) -> dict[str, Resource]:
        """As the API tells them: those of a deleted stack are told of for 90 days (ListStackResources, reference)."""
        return {**self.gone, **self.resources} if self.status.startswith("DELETE") else dict(self.resources)


class Stacks:
    """All stacks of the account, those that are deleted too. `lock` is held by whoever decides on what they are."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.all: list[Stack] = []  # the oldest first
        self.lock = threading.RLock()
        self._callbacks = CallbackListener()
        account.closers.append(self._callbacks.close)

    def find(self, name: str) -> Stack:
        """The stack with that name or id. Raises ServiceError(ValidationError) if there is none."""
        with self.lock:
            for stack in reversed(self.all):
                if stack.id == name or (stack.name == name and stack.status != "DELETE_COMPLETE"):
                    return stack
        raise refused(f"Stack with id {name} does not exist")

    def new(self, name: str, body: str, request: dict[str, Any]) -> Stack:
        if not _STACK_NAME.fullmatch(name):
            raise refused(
                f"1 validation error detected: Value '{name}' at 'stackName' failed to satisfy constraint: Member must "
                "satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*"
            )
        identifier = f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:stack/{name}/{uuid.uuid4()}"
        now = self._account.clock.now()
        return Stack(name, identifier, Plan(body, {}, {}, {}), tags_of(request), [], {}, now, "CREATE_IN_PROGRESS")

    @staticmethod
    def adopt(stack: Stack, plan: Plan, request: dict[str, Any]) -> None:
        stack.plan = plan
        stack.capabilities = list(request.get("Capabilities") or stack.capabilities)
        if "Tags" in request:
            stack.tags = tags_of(request)
        for name in ("DisableRollback", "EnableTerminationProtection", "OnFailure", "RoleARN", "NotificationARNs"):
            if name in request:
                stack.options[name] = request[name]

    def assert_free(self, name: str) -> None:
        if any(stack.name == name and stack.status != "DELETE_COMPLETE" for stack in self.all):
            raise ServiceError("AlreadyExistsException", f"Stack [{name}] already exists")

    @staticmethod
    def assert_updatable(stack: Stack) -> None:
        if not re.fullmatch(r"(CREATE|UPDATE|UPDATE_ROLLBACK|IMPORT)_COMPLETE", stack.status):
            raise refused(f"Stack:{stack.id} is in {stack.status} state and can not be updated.")

    # Each begins, and returns at once

    def create(self, stack: Stack) -> None:
        self._start(lambda: self._create(stack))

    def update(self, stack: Stack, plan: Plan, request: dict[str, Any]) -> None:
        self._start(lambda: self._update(stack, plan, request))

    def delete(self, stack: Stack, retained: set[str]) -> None:
        self._start(lambda: self._delete(stack, retained))

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True, name="cloudformation").start()

    def _create(self, stack: Stack) -> None:
        self.say(stack, "CREATE_IN_PROGRESS", "User Initiated")
        failure = self._bring(stack, {})
        if failure is None:
            self._finish(stack, "CREATE_COMPLETE", None)
            return
        on_failure = stack.options.get("OnFailure") or ("DO_NOTHING" if stack.options.get("DisableRollback") else None)
        if on_failure == "DO_NOTHING":
            self._finish(stack, "CREATE_FAILED", failure)
            return
        self.say(stack, "ROLLBACK_IN_PROGRESS", f"{failure}. Rollback requested by user.")
        kept = self._remove(stack, list(reversed(stack.resources)), rolling_back=True)
        self._finish(stack, "ROLLBACK_FAILED" if kept else "ROLLBACK_COMPLETE", failure)

    def _update(self, stack: Stack, plan: Plan, request: dict[str, Any]) -> None:
        before, tags_before = stack.plan, stack.tags
        old = {name: copy.copy(resource) for name, resource in stack.resources.items()}
        self.adopt(stack, plan, request)
        replaced: dict[str, Resource] = {}
        failure = self._bring(stack, replaced)
        if failure is None:
            stack.updated = self._account.clock.now()
            self.say(stack, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", None)
            gone = [name for name in stack.resources if name not in self.wanted(stack)]
            order = {name: index for index, name in enumerate(in_order(before.template["Resources"]))}
            self._remove(stack, sorted(gone, key=lambda name: -order.get(name, 0)))
            for resource in replaced.values():
                self._discard(stack, resource)
            self._finish(stack, "UPDATE_COMPLETE", None)
            return
        self.say(stack, "UPDATE_ROLLBACK_IN_PROGRESS", failure)
        stack.plan, stack.tags = before, tags_before
        # New resources go, changed ones go back, replaced ones are still there.
        made_since = [name for name in stack.resources if name not in old]
        abandoned = []
        for name, resource in replaced.items():
            abandoned.append(stack.resources[name])
            stack.resources[name] = resource
        second = self._bring(stack, {})
        self._remove(stack, list(reversed(made_since)), rolling_back=True)
        for resource in abandoned:
            self._discard(stack, resource)
        self._finish(stack, "UPDATE_ROLLBACK_FAILED" if second else "UPDATE_ROLLBACK_COMPLETE", second or failure)

    def _delete(self, stack: Stack, retained: set[str]) -> None:
        for name in retained:
            stack.resources.pop(name, None)
        kept = self._remove(stack, list(reversed(self._made_order(stack))))
        if kept:
            reason = f"The following resource(s) failed to delete: [{', '.join(kept)}]. "
            self._finish(stack, "DELETE_FAILED", reason)
            return
        stack.deleted = self._account.clock.now()
        self._finish(stack, "DELETE_COMPLETE", None)

    @staticmethod
    def _made_order(stack: Stack) -> list[str]:
        order = {name: index for index, name in enumerate(in_order(stack.plan.template.get("Resources") or {}))}
        return sorted(stack.resources, key=lambda name: order.get(name, -1))

    def wanted(self, stack: Stack, plan: Plan | None = None) -> dict[str, dict[str, Any]]:
        """The resources of its template, or of another's, whose condition holds."""
        scope = self.scope(stack, plan)
        return {
            name: resource
            for name, resource in (plan or stack.plan).template["Resources"].items()
            if "Condition" not in resource or scope.condition(resource["Condition"])
        }

    def scope(self, stack: Stack, plan: Plan | None = None) -> Scope:
        plan = plan or stack.plan
        return Scope(plan.template, (stack.name, stack.id), plan.parameters, stack.made, self.exports)

    def _bring(self, stack: Stack, replaced: dict[str, Resource]) -> str | None:
        """Creates and changes resources until they are as the template says; the reason if one cannot be."""
        wanted = self.wanted(stack)
        for name in in_order(wanted):
            definition = wanted[name]
            existing = stack.resources.get(name)
            verb = "CREATE" if existing is None or existing.made is None else "UPDATE"
            attempted = existing.properties if existing else {}
            try:
                scope = self.scope(stack)
                properties = scope.resolve(definition.get("Properties") or {})
                kind = kind_of(definition["Type"])
                if kind.properties is not None:
                    unknown = sorted(set(properties) - kind.properties)
                    if unknown:
                        raise ResourceFailure(f"Encountered unsupported property {unknown[0]}")
                context = self._context(stack, name, definition["Type"])
                if existing is None or existing.made is None:
                    self._tell(stack, name, definition, properties, None, "CREATE_IN_PROGRESS", None)
                    made = kind.create(context, properties)
                elif existing.type != definition["Type"]:
                    raise ResourceFailure(f"Update of resource type is not permitted for {name}")
                elif existing.properties == properties:
                    existing.definition = definition
                    continue
                else:
                    self._tell(stack, name, definition, existing.properties, existing.made, "UPDATE_IN_PROGRESS", None)
                    attempted = properties
                    if kind.must_replace(existing.properties, properties):
                        if kind.named_by and existing.properties.get(kind.named_by) == properties.get(
                            kind.named_by, object()
                        ):
                            named = properties[kind.named_by]
                            raise ResourceFailure(
                                "CloudFormation cannot update a stack when a custom-named resource requires replacing. "
                                f"Rename {named} and update the stack again."
                            )
                        made = kind.create(context, properties)
                        replaced[name] = existing
                    else:
                        made = kind.update(context, existing.made, existing.properties, properties)
                        if made.physical_id != existing.made.physical_id:
                            replaced[name] = existing
            except Exception as error:
                reason = _reason(error)
                made_before = existing.made if existing else None
                # With the properties that were tried, so that a rollback puts the old ones back.
                self._tell(stack, name, definition, attempted, made_before, f"{verb}_FAILED", reason)
                self._account.journal.record(
                    "stack", stack=stack.name, resource=name, status=f"{verb}_FAILED", reason=reason
                )
                return f"The following resource(s) failed to {verb.lower()}: [{name}]. {name}: {reason}"
            self._tell(stack, name, definition, properties, made, f"{verb}_COMPLETE", None)
        return self._output(stack)

    def _output(self, stack: Stack) -> str | None:
        scope = self.scope(stack)
        outputs = []
        try:
            for name, output in (stack.plan.template.get("Outputs") or {}).items():
                if "Condition" in output and not scope.condition(output["Condition"]):
                    continue
                shown = {"OutputKey": name, "OutputValue": text(scope.resolve(output["Value"]))}
                if "Description" in output:
                    shown["Description"] = output["Description"]
                if "Export" in output:
                    shown["ExportName"] = text(scope.resolve(output["Export"]["Name"]))
                outputs.append(shown)
        except (ResourceFailure, ServiceError) as error:
            return _reason(error)
        stack.outputs = outputs
        return None

    def _remove(self, stack: Stack, names: list[str], rolling_back: bool = False) -> list[str]:
        """Deletes resources in that order; the names of those that could not be. What these use is left as it is."""
        kept: list[str] = []
        used: set[str] = set()
        for name in names:
            resource = stack.resources[name]
            if name in used:
                used |= uses(resource.definition)
                continue
            policy = resource.definition.get("DeletionPolicy", "Delete")
            if resource.made is None:
                self._tell_again(stack, resource, "DELETE_COMPLETE", None)
                continue
            if policy == "Retain" or (policy == "RetainExceptOnCreate" and not rolling_back):
                self._tell_again(stack, resource, "DELETE_SKIPPED", None)
                continue
            if self._discard(stack, resource):
                kept.append(name)
                used |= uses(resource.definition)
        return kept

    def _discard(self, stack: Stack, resource: Resource) -> str | None:
        """Deletes one resource; the reason if that fails."""
        from botocore.exceptions import ClientError

        if resource.made is None:
            return None
        current = stack.resources.get(resource.logical_id)
        replaced = current is not resource and current is not None
        if replaced and resource.definition.get("UpdateReplacePolicy") == "Retain":
            return None
        if not replaced:
            self._tell_again(stack, resource, "DELETE_IN_PROGRESS", None)
        try:
            context = self._context(stack, resource.logical_id, resource.type)
            kind_of(resource.type).delete(context, resource.made, resource.properties)
        except Exception as error:
            code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
            if not re.search(r"NotFound|NoSuch|NonExistent", code):
                reason = _reason(error)
                if not replaced:
                    self._tell_again(stack, resource, "DELETE_FAILED", reason)
                self._account.journal.record(
                    "stack", stack=stack.name, resource=resource.logical_id, status="DELETE_FAILED", reason=reason
                )
                return reason
        if not replaced:
            resource.made = None
            self._tell_again(stack, resource, "DELETE_COMPLETE", None)
        return None

    def _context(self, stack: Stack, logical_id: str, kind: str) -> Context:
        context = Context(self._account, self._callbacks, (stack.name, stack.id), logical_id, kind)
        context.tags = dict(stack.tags)
        return context

    # What is told about it

    def _tell(
        self,
        stack: Stack,
        name: str,
        definition: dict[str, Any],
        properties: dict[str, Any],
        made: Made | None,
        status: str,
        reason: str | None,
    ) -> None:
        now = self._account.clock.now()
        resource = Resource(name, definition["Type"], properties, definition, made, status, reason, now)
        stack.resources[name] = resource
        self._event(stack, name, resource.type, made.physical_id if made else "", status, reason, properties)

    def _tell_again(self, stack: Stack, resource: Resource, status: str, reason: str | None) -> None:
        physical_id = resource.made.physical_id if resource.made else ""
        resource.status, resource.reason, resource.at = status, reason, self._account.clock.now()
        self._event(stack, resource.logical_id, resource.type, physical_id, status, reason, resource.properties)
        if status in ("DELETE_COMPLETE", "DELETE_SKIPPED"):
            stack.resources.pop(resource.logical_id, None)
            stack.gone[resource.logical_id] = resource

    def say(self, stack: Stack, status: str, reason: str | None) -> None:
        stack.status, stack.reason = status, reason
        self._event(stack, stack.name, "AWS::CloudFormation::Stack", stack.id, status, reason, None)
        self._account.journal.record("stack", stack=stack.name, status=status, reason=reason)

    def _finish(self, stack: Stack, status: str, reason: str | None) -> None:
        self.say(stack, status, reason)
        stack.settled.set()

    def _event(
        self,
        stack: Stack,
        logical_id: str,
        kind: str,
        physical_id: str,
        status: str,
        reason: str | None,
        properties: dict[str, Any] | None,
    ) -> None:
        event = {
            "StackId": stack.id,
            "EventId": str(uuid.uuid4()),
            "StackName": stack.name,
            "LogicalResourceId": logical_id,
            "PhysicalResourceId": physical_id,
            "ResourceType": kind,
            "Timestamp": self._account.clock.now(),
            "ResourceStatus": status,
        }
        if reason:
            event["ResourceStatusReason"] = reason
        if properties:
            event["ResourceProperties"] = json.dumps(properties)
        stack.events.append(event)

    def exports(self) -> dict[str, str]:
        with self.lock:
            return {
                output["ExportName"]: output["OutputValue"]
                for stack in self.all
                if stack.status != "DELETE_COMPLETE"
                for output in stack.outputs
                if "ExportName" in output
            }


def _reason(error: Exception) -> str:
    from botocore.exceptions import ClientError

    if isinstance(error, ClientError):
        detail = error.response["Error"]
        metadata = error.response["ResponseMetadata"]
        return (
            f"{detail.get('Message')} (Service: {error.operation_name}, Status Code: {metadata.get('HTTPStatusCode')}, "
            f"Error Code: {detail.get('Code')})"
        )
    if isinstance(error, (ResourceFailure, ServiceError)):
        return str(error)
    if isinstance(error, KeyError):
        return f"Properties validation failed: required key {error} not found"
    return f"{type(error).__name__}: {error}"


def tags_of(request: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in request.get("Tags") or ()}
