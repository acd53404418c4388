"""Network resources of a template: each becomes the EC2 calls that make it. Nothing on the laptop is routed by them.

Properties: AWS::EC2 in the CloudFormation template reference; requests: EC2 API reference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from laptop.cloudformation_types import Context, Kind, Made, Properties, picked

Tagged = list[dict[str, Any]]


def _tags(context: Context, properties: Properties, resource_type: str) -> Tagged:
    return [{"ResourceType": resource_type, "Tags": context.tag_list(properties)}]


class Simple(Kind):
    """A resource that one call makes and another deletes; it can't be changed in place here."""

    def __init__(
        self,
        properties: str,
        create: Callable[[Context, Properties], Made],
        delete: tuple[str, str],
    ) -> None:
        self.properties = frozenset(properties.split())
        self.replacing = self.properties - {"Tags"}
        self._create, self._delete = create, delete

    def create(self, context: Context, properties: Properties) -> Made:
        return self._create(context, properties)

    def update(self, context: Context, made: Made, old: Properties, new: Properties) -> Made:
        context.call("ec2", "CreateTags", Resources=[made.physical_id], Tags=context.tag_list(new))
        return made

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        operation, member = self._delete
        value = [made.physical_id] if member.endswith("s") else made.physical_id
        context.call("ec2", operation, **{member: value})


def _vpc(context: Context, properties: Properties) -> Made:
    vpc = context.call(
        "ec2", "CreateVpc", CidrBlock=properties["CidrBlock"], TagSpecifications=_tags(context, properties, "vpc")
    )["Vpc"]
    for attribute in ("EnableDnsSupport", "EnableDnsHostnames"):
        if attribute in properties:
            on = str(properties[attribute]).lower() == "true"
            context.call("ec2", "ModifyVpcAttribute", VpcId=vpc["VpcId"], **{attribute: {"Value": on}})
    return Made(vpc["VpcId"], {"VpcId": vpc["VpcId"], "CidrBlock": vpc["CidrBlock"]})


def _subnet(context: Context, properties: Properties) -> Made:
    subnet = context.call(
        "ec2",
        "CreateSubnet",
        TagSpecifications=_tags(context, properties, "subnet"),
        **picked(properties, "VpcId", "CidrBlock", "AvailabilityZone"),
    )["Subnet"]
    return Made(subnet["SubnetId"], {"SubnetId": subnet["SubnetId"], "AvailabilityZone": subnet["AvailabilityZone"]})


def _route_table(context: Context, properties: Properties) -> Made:
    table = context.call(
        "ec2",
        "CreateRouteTable",
        VpcId=properties["VpcId"],
        TagSpecifications=_tags(context, properties, "route-table"),
    )["RouteTable"]
    return Made(table["RouteTableId"], {"RouteTableId": table["RouteTableId"]})


def _association(context: Context, properties: Properties) -> Made:
    answer = context.call("ec2", "AssociateRouteTable", **picked(properties, "SubnetId", "RouteTableId"))
    return Made(answer["AssociationId"], {"Id": answer["AssociationId"]})


def _endpoint(context: Context, properties: Properties) -> Made:
    endpoint = context.call(
        "ec2",
        "CreateVpcEndpoint",
        PolicyDocument=json.dumps(properties["PolicyDocument"]),
        TagSpecifications=_tags(context, properties, "vpc-endpoint"),
        **picked(properties, "VpcEndpointType", "VpcId", "ServiceName", "RouteTableIds"),
    )["VpcEndpoint"]
    return Made(endpoint["VpcEndpointId"], {"Id": endpoint["VpcEndpointId"]})


def _group(context: Context, properties: Properties) -> Made:
    group = context.call(
        "ec2",
        "CreateSecurityGroup",
        GroupName=properties.get("GroupName") or context.name(255),
        Description=properties["GroupDescription"],
        VpcId=properties["VpcId"],
        TagSpecifications=_tags(context, properties, "security-group"),
    )["GroupId"]
    if "SecurityGroupEgress" in properties:
        # A new group lets everything out; the template's rules take that one's place (AWS::EC2::SecurityGroup).
        everything = [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
        context.call("ec2", "RevokeSecurityGroupEgress", GroupId=group, IpPermissions=everything)
        rules = [_permission(rule) for rule in properties["SecurityGroupEgress"]]
        context.call("ec2", "AuthorizeSecurityGroupEgress", GroupId=group, IpPermissions=rules)
    return Made(group, {"GroupId": group, "Id": group, "VpcId": properties["VpcId"]})


def _permission(rule: Mapping[str, Any]) -> dict[str, Any]:
    said = {"Description": rule["Description"]} if "Description" in rule else {}
    found: dict[str, Any] = {"IpProtocol": str(rule["IpProtocol"])}
    found |= {port: int(rule[port]) for port in ("FromPort", "ToPort") if port in rule}
    other = rule.get("SourceSecurityGroupId") or rule.get("DestinationSecurityGroupId")
    if other:
        return {**found, "UserIdGroupPairs": [{"GroupId": other, **said}]}
    return {**found, "IpRanges": [{"CidrIp": rule["CidrIp"], **said}]}


class GroupRule(Kind):
    """A rule of a security group that stands beside it, because it names the group itself."""

    def __init__(self, direction: str) -> None:
        self._direction = direction
        other = "SourceSecurityGroupId" if direction == "Ingress" else "DestinationSecurityGroupId"
        self.properties = frozenset({"GroupId", other, "IpProtocol", "FromPort", "ToPort", "CidrIp", "Description"})
        self.replacing = self.properties

    def create(self, context: Context, properties: Properties) -> Made:
        self._call(context, "Authorize", properties)
        return Made(f"{properties['GroupId']}-{self._direction.lower()}-{context.name(63, lower=True)[-12:]}")

    def delete(self, context: Context, made: Made, properties: Properties) -> None:
        self._call(context, "Revoke", properties)

    def _call(self, context: Context, verb: str, properties: Properties) -> None:
        operation = f"{verb}SecurityGroup{self._direction}"
        context.call("ec2", operation, GroupId=properties["GroupId"], IpPermissions=[_permission(properties)])


KINDS: Mapping[str, Kind] = {
    "AWS::EC2::VPC": Simple("CidrBlock EnableDnsSupport EnableDnsHostnames Tags", _vpc, ("DeleteVpc", "VpcId")),
    "AWS::EC2::Subnet": Simple(
        "VpcId CidrBlock AvailabilityZone MapPublicIpOnLaunch Tags", _subnet, ("DeleteSubnet", "SubnetId")
    ),
    "AWS::EC2::RouteTable": Simple("VpcId Tags", _route_table, ("DeleteRouteTable", "RouteTableId")),
    "AWS::EC2::SubnetRouteTableAssociation": Simple(
        "SubnetId RouteTableId", _association, ("DisassociateRouteTable", "AssociationId")
    ),
    "AWS::EC2::VPCEndpoint": Simple(
        "VpcEndpointType VpcId ServiceName RouteTableIds PolicyDocument Tags",
        _endpoint,
        ("DeleteVpcEndpoints", "VpcEndpointIds"),
    ),
    "AWS::EC2::SecurityGroup": Simple(
        "GroupName GroupDescription VpcId SecurityGroupEgress Tags", _group, ("DeleteSecurityGroup", "GroupId")
    ),
    "AWS::EC2::SecurityGroupIngress": GroupRule("Ingress"),
    "AWS::EC2::SecurityGroupEgress": GroupRule("Egress"),
}
