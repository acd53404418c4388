"""AWS CloudFormation with the SAM transform: stacks that really make their resources, and fail by name when they can't.

Templates with the transform are translated by SAM's own translator. Resources are made in the order of their
dependencies by calls to the account's own API (laptop/cloudformation_types.py). A failed creation is rolled back to
ROLLBACK_COMPLETE, a failed update to UPDATE_ROLLBACK_COMPLETE, with the reason in the events. moto's CloudFormation is
not used: it ignores resource types and properties that it does not know, and does not roll back.

Stack states and messages: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from laptop.account import Account
from laptop.cloudformation_change_sets import ChangeSets
from laptop.cloudformation_plan import body_of, read_plan, shown_parameters
from laptop.cloudformation_stacks import Resource, Stack, Stacks, tags_of
from laptop.cloudformation_template import SAM, parse_template, refused
from laptop.cloudformation_types import text
from laptop.errors import ServiceError


class CloudFormation:
    """All stacks of the account, and the operations of the service on them."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.stacks = Stacks(account)
        operations: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "CancelUpdateStack": self._not_cancelled,
            "CreateStack": self._create_stack,
            "DeleteStack": self._delete_stack,
            "DescribeStackEvents": self._describe_stack_events,
            "DescribeStackResource": self._describe_stack_resource,
            "DescribeStackResources": self._describe_stack_resources,
            "DescribeStacks": self._describe_stacks,
            "GetTemplate": self._get_template,
            "GetTemplateSummary": self._get_template_summary,
            "ListExports": self._list_exports,
            "ListStackResources": self._list_stack_resources,
            "ListStacks": self._list_stacks,
            "UpdateStack": self._update_stack,
            "UpdateTerminationProtection": self._update_termination_protection,
            "ValidateTemplate": self._validate_template,
        }
        account.operations.setdefault("cloudformation", {}).update(
            operations | ChangeSets(account, self.stacks).operations
        )

    # Create, update, delete

    def _create_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["StackName"]
        plan = read_plan(self._account, request)
        with self.stacks.lock:
            self.stacks.assert_free(name)
            stack = self.stacks.new(name, plan.body, request)
            self.stacks.adopt(stack, plan, request)
            self.stacks.all.append(stack)
        self.stacks.create(stack)
        return {"StackId": stack.id}

    def _update_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stacks.find(request["StackName"])
        plan = read_plan(self._account, request, stack.plan)
        with self.stacks.lock:
            self.stacks.assert_updatable(stack)
            wanted_tags = tags_of(request) if "Tags" in request else stack.tags
            before = (stack.plan.template, stack.plan.parameters, stack.tags)
            if (plan.template, plan.parameters, wanted_tags) == before:
                raise refused("No updates are to be performed.")
            stack.settled.clear()
            self.stacks.say(stack, "UPDATE_IN_PROGRESS", "User Initiated")
        self.stacks.update(stack, plan, request)
        return {"StackId": stack.id}

    def _delete_stack(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            stack = self.stacks.find(request["StackName"])
        except ServiceError:
            return {}  # as AWS does
        if stack.options.get("EnableTerminationProtection"):
            raise refused(f"Stack [{stack.name}] cannot be deleted while TerminationProtection is enabled")
        with self.stacks.lock:
            if stack.status.endswith("_IN_PROGRESS") and stack.status != "REVIEW_IN_PROGRESS":
                raise refused(f"Stack:{stack.id} is in {stack.status} state and can not be deleted.")
            if stack.status == "DELETE_COMPLETE":
                return {}
            stack.settled.clear()
            self.stacks.say(stack, "DELETE_IN_PROGRESS", "User Initiated")
        self.stacks.delete(stack, set(request.get("RetainResources") or ()))
        return {}

    # Describe and list

    def _describe_stacks(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("StackName"):
            return {"Stacks": [_shown(self.stacks.find(request["StackName"]))]}
        with self.stacks.lock:
            return {"Stacks": [_shown(stack) for stack in self.stacks.all if stack.status != "DELETE_COMPLETE"]}

    def _list_stacks(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("StackStatusFilter")
        with self.stacks.lock:
            stacks = [stack for stack in self.stacks.all if not wanted or stack.status in wanted]
        return {"StackSummaries": [_summary(stack) for stack in reversed(stacks)]}

    def _describe_stack_resources(self, request: dict[str, Any]) -> dict[str, Any]:
        if "PhysicalResourceId" in request and "StackName" not in request:
            stacks = [
                stack
                for stack in self.stacks.all
                if any(made.physical_id == request["PhysicalResourceId"] for made in stack.made.values())
            ]
            if not stacks:
                raise refused(f"Stack for {request['PhysicalResourceId']} does not exist")
        else:
            stacks = [self.stacks.find(request["StackName"])]
        stack = stacks[0]
        logical_id = request.get("LogicalResourceId")
        return {
            "StackResources": [
                {"StackName": stack.name, "StackId": stack.id, **_resource(resource), "Timestamp": resource.at}
                for name, resource in stack.listed.items()
                if logical_id in (None, name)
            ]
        }

    def _describe_stack_resource(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stacks.find(request["StackName"])
        resource = stack.resources.get(request["LogicalResourceId"])
        if resource is None:
            raise refused(f"Resource {request['LogicalResourceId']} does not exist for stack {stack.name}")
        shown = {"StackName": stack.name, "StackId": stack.id, **_resource(resource)}
        shown |= {
            "LastUpdatedTimestamp": resource.at,
            "Metadata": json.dumps(resource.definition.get("Metadata") or {}),
        }
        return {"StackResourceDetail": shown}

    def _list_stack_resources(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stacks.find(request["StackName"])
        return {
            "StackResourceSummaries": [
                {**_resource(resource), "LastUpdatedTimestamp": resource.at} for resource in stack.listed.values()
            ]
        }

    def _describe_stack_events(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"StackEvents": list(reversed(self.stacks.find(request["StackName"]).events))}

    def _get_template(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stacks.find(request["StackName"])
        original = request.get("TemplateStage") == "Original"
        plan = stack.plan
        body = plan.body if original or SAM not in plan.body else json.dumps(plan.template)
        return {"TemplateBody": body, "StagesAvailable": ["Original", "Processed"]}

    def _get_template_summary(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("StackName"):
            body = self.stacks.find(request["StackName"]).plan.body
        else:
            body = body_of(self._account, request)
        template = parse_template(body)
        kinds = sorted({resource["Type"] for resource in template["Resources"].values()})
        transforms = template.get("Transform") or []
        shown: dict[str, Any] = {"Parameters": _declared(template), "ResourceTypes": kinds}
        if "Description" in template:
            shown["Description"] = template["Description"]
        if transforms:
            shown["DeclaredTransforms"] = [transforms] if isinstance(transforms, str) else transforms
        if any(kind.startswith(("AWS::IAM::", "AWS::Serverless::Function")) for kind in kinds):
            shown["Capabilities"] = ["CAPABILITY_IAM"]
            shown["CapabilitiesReason"] = "The following resource(s) require capabilities: [AWS::IAM::Role]"
        return shown

    def _validate_template(self, request: dict[str, Any]) -> dict[str, Any]:
        template = parse_template(body_of(self._account, request))
        keys = ("ParameterKey", "DefaultValue", "NoEcho", "Description")
        parameters = [{key: one[key] for key in keys if key in one} for one in _declared(template)]
        shown: dict[str, Any] = {"Parameters": parameters}
        if "Description" in template:
            shown["Description"] = template["Description"]
        return shown

    def _list_exports(self, request: dict[str, Any]) -> dict[str, Any]:
        exports = [
            {"ExportingStackId": stack.id, "Name": output["ExportName"], "Value": output["OutputValue"]}
            for stack in self.stacks.all
            if stack.status != "DELETE_COMPLETE"
            for output in stack.outputs
            if "ExportName" in output
        ]
        return {"Exports": exports}

    def _update_termination_protection(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stacks.find(request["StackName"])
        stack.options["EnableTerminationProtection"] = request["EnableTerminationProtection"]
        return {"StackId": stack.id}

    def _not_cancelled(self, request: dict[str, Any]) -> dict[str, Any]:
        stack = self.stacks.find(request["StackName"])
        raise refused(f"CancelUpdateStack cannot be called from current stack status: {stack.status}")


def _declared(template: dict[str, Any]) -> list[dict[str, Any]]:
    shown = []
    for name, one in (template.get("Parameters") or {}).items():
        parameter: dict[str, Any] = {"ParameterKey": name, "ParameterType": one.get("Type", "String")}
        if "Default" in one:
            parameter["DefaultValue"] = text(one["Default"])
        if "Description" in one:
            parameter["Description"] = one["Description"]
        parameter["NoEcho"] = text(one.get("NoEcho", False)) == "true"
        if "AllowedValues" in one:
            parameter["ParameterConstraints"] = {"AllowedValues": [text(value) for value in one["AllowedValues"]]}
        shown.append(parameter)
    return shown


def _shown(stack: Stack) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "StackId": stack.id,
        "StackName": stack.name,
        "Parameters": shown_parameters(stack.plan),
        "CreationTime": stack.created,
        "StackStatus": stack.status,
        "DisableRollback": bool(stack.options.get("DisableRollback", False)),
        "NotificationARNs": list(stack.options.get("NotificationARNs") or []),
        "Capabilities": stack.capabilities,
        "Outputs": stack.outputs,
        "Tags": [{"Key": key, "Value": value} for key, value in stack.tags.items()],
        "EnableTerminationProtection": bool(stack.options.get("EnableTerminationProtection", False)),
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
        "RollbackConfiguration": {},
    }
    optional = {
        "StackStatusReason": stack.reason,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
        "ChangeSetId": stack.change_set_id,
        "Description": stack.plan.template.get("Description"),
        "RoleARN": stack.options.get("RoleARN"),
    }
    return shown | {name: value for name, value in optional.items() if value is not None}


def _summary(stack: Stack) -> dict[str, Any]:
    shown = {
        "StackId": stack.id,
        "StackName": stack.name,
        "CreationTime": stack.created,
        "StackStatus": stack.status,
        "DriftInformation": {"StackDriftStatus": "NOT_CHECKED"},
    }
    optional = {
        "TemplateDescription": stack.plan.template.get("Description"),
        "StackStatusReason": stack.reason,
        "LastUpdatedTime": stack.updated,
        "DeletionTime": stack.deleted,
    }
    return shown | {name: value for name, value in optional.items() if value is not None}


def _resource(resource: Resource) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "LogicalResourceId": resource.logical_id,
        "ResourceType": resource.type,
        "ResourceStatus": resource.status,
        "DriftInformation": {"StackResourceDriftStatus": "NOT_CHECKED"},
    }
    if resource.made is not None:
        shown["PhysicalResourceId"] = resource.made.physical_id
    if resource.reason:
        shown["ResourceStatusReason"] = resource.reason
    return shown


_installed: dict[int, CloudFormation] = {}


def of(account: Account) -> CloudFormation:
    """The account's CloudFormation. Raises KeyError before `install`."""
    return _installed[account.port]


def install(account: Account) -> None:
    """Registers the service's operations."""
    _installed[account.port] = CloudFormation(account)
