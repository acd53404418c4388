"""CloudFormation's change sets: what an update would do, told before it is carried out.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-updating-stacks-changesets.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.cloudformation_plan import Plan, read_plan, shown_parameters
from laptop.cloudformation_stacks import Stack, Stacks, tags_of
from laptop.cloudformation_types import ResourceFailure, kind_of
from laptop.errors import ServiceError


@dataclass
class ChangeSet:
    """A change that was asked for and not carried out yet."""

    name: str
    id: str
    kind: str  # CREATE or UPDATE
    stack: Stack
    plan: Plan
    request: dict[str, Any]
    changes: list[dict[str, Any]]
    created: datetime
    status: str
    reason: str | None
    execution: str


class ChangeSets:
    """All change sets of the account, and the operations on them."""

    def __init__(self, account: Account, stacks: Stacks) -> None:
        self._account = account
        self._stacks = stacks
        self._all: list[ChangeSet] = []
        self.operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CreateChangeSet": self._create,
            "DeleteChangeSet": self._delete,
            "DescribeChangeSet": self._describe,
            "ExecuteChangeSet": self._execute,
            "ListChangeSets": self._list,
        }

    def _create(self, request: dict[str, Any]) -> dict[str, Any]:
        name, kind = request["StackName"], request.get("ChangeSetType", "UPDATE")
        with self._stacks.lock:
            if kind == "CREATE":
                under_review = [
                    stack for stack in self._stacks.all if stack.name == name and stack.status == "REVIEW_IN_PROGRESS"
                ]
                if not under_review:
                    self._stacks.assert_free(name)
                before = None
            else:
                before = self._stacks.find(name)
                self._stacks.assert_updatable(before)
        plan = read_plan(self._account, request, before.plan if before else None)
        with self._stacks.lock:
            if kind == "CREATE" and not under_review:
                stack = self._stacks.new(name, plan.body, request)
                self._stacks.all.append(stack)
                self._stacks.say(stack, "REVIEW_IN_PROGRESS", "User Initiated")
                stack.settled.set()
            else:
                stack = before or under_review[0]
            changes = self._changes(stack, plan)
            tags_changed = "Tags" in request and tags_of(request) != stack.tags
            unchanged = kind == "UPDATE" and not changes and not tags_changed
            change_set = ChangeSet(
                request["ChangeSetName"],
                f"arn:aws:cloudformation:{REGION}:{ACCOUNT_ID}:changeSet/{request['ChangeSetName']}/{uuid.uuid4()}",
                kind,
                stack,
                plan,
                request,
                changes,
                self._account.clock.now(),
                "FAILED" if unchanged else "CREATE_COMPLETE",
                "The submitted information didn't contain changes. Submit different information to create a change set."
                if unchanged
                else None,
                "UNAVAILABLE" if unchanged else "AVAILABLE",
            )
            self._all.append(change_set)
        return {"Id": change_set.id, "StackId": stack.id}

    def _changes(self, stack: Stack, plan: Plan) -> list[dict[str, Any]]:
        scope = self._stacks.scope(stack, plan)
        wanted = self._stacks.wanted(stack, plan)
        changes: list[dict[str, Any]] = []
        for name in sorted({*wanted, *stack.resources}):
            existing, definition = stack.resources.get(name), wanted.get(name)
            change: dict[str, Any] = {"LogicalResourceId": name}
            if existing is None or existing.made is None:
                if definition is None:
                    continue
                change |= {"Action": "Add", "ResourceType": definition["Type"], "Scope": [], "Details": []}
            elif definition is None:
                change |= {"Action": "Remove", "ResourceType": existing.type, "Scope": [], "Details": []}
                change["PhysicalResourceId"] = existing.made.physical_id
            else:
                try:
                    properties = scope.resolve(definition.get("Properties") or {})
                    replaced = kind_of(definition["Type"]).must_replace(existing.properties, properties)
                    replacement = "True" if replaced else "False"
                except ResourceFailure:  # it refers to something that is not made yet
                    properties, replacement = None, "Conditional"
                if properties == existing.properties:
                    continue
                change |= {"Action": "Modify", "ResourceType": existing.type, "Scope": ["Properties"], "Details": []}
                change |= {"PhysicalResourceId": existing.made.physical_id, "Replacement": replacement}
            changes.append({"Type": "Resource", "ResourceChange": change})
        return changes

    def _find(self, request: dict[str, Any]) -> ChangeSet:
        name = request["ChangeSetName"]
        for change_set in reversed(self._all):
            if change_set.id == name or (
                change_set.name == name and request.get("StackName") in (change_set.stack.name, change_set.stack.id)
            ):
                return change_set
        raise ServiceError("ChangeSetNotFound", f"ChangeSet [{name}] does not exist", 404)

    def _describe(self, request: dict[str, Any]) -> dict[str, Any]:
        change_set = self._find(request)
        shown = {**_summary(change_set), "Changes": change_set.changes}
        shown["Parameters"] = shown_parameters(change_set.plan)
        shown["Capabilities"] = list(change_set.request.get("Capabilities") or [])
        shown["Tags"] = change_set.request.get("Tags") or []
        return shown

    def _list(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self._stacks.find(request["StackName"])
        return {"Summaries": [_summary(one) for one in self._all if one.stack is stack]}

    def _delete(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            change_set = self._find(request)
        except ServiceError:
            return {}
        with self._stacks.lock:
            self._all.remove(change_set)
        return {}

    def _execute(self, request: dict[str, Any]) -> dict[str, Any]:
        change_set = self._find(request)
        stack = change_set.stack
        with self._stacks.lock:
            if change_set.execution != "AVAILABLE":
                raise ServiceError(
                    "InvalidChangeSetStatus",
                    f"ChangeSet [{change_set.id}] cannot be executed in its current status of [{change_set.status}]",
                )
            if change_set.kind == "UPDATE":
                self._stacks.assert_updatable(stack)
            change_set.execution = "EXECUTE_COMPLETE"
            stack.change_set_id = change_set.id
            stack.settled.clear()
            if change_set.kind == "CREATE":
                stack.status = "CREATE_IN_PROGRESS"
                self._stacks.adopt(stack, change_set.plan, change_set.request)
            else:
                self._stacks.say(stack, "UPDATE_IN_PROGRESS", "User Initiated")
        if change_set.kind == "CREATE":
            self._stacks.create(stack)
        else:
            self._stacks.update(stack, change_set.plan, change_set.request)
        return {}


def _summary(change_set: ChangeSet) -> dict[str, Any]:
    shown = {
        "StackId": change_set.stack.id,
        "StackName": change_set.stack.name,
        "ChangeSetId": change_set.id,
        "ChangeSetName": change_set.name,
        "ExecutionStatus": change_set.execution,
        "Status": change_set.status,
        "CreationTime": change_set.created,
    }
    if change_set.reason:
        shown["StatusReason"] = change_set.reason
    if "Description" in change_set.request:
        shown["Description"] = change_set.request["Description"]
    return shown
