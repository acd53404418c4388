"""Cost Anomaly Detection: monitors and subscriptions are kept and checked as on AWS; the laptop detects nothing.

https://docs.aws.amazon.com/cost-management/latest/userguide/manage-ad.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from laptop.account import ACCOUNT_ID, Account
from laptop.errors import ServiceError

# An account may have one monitor of all services, and one that opened Cost Explorer since March 2023 has this one from
# the start: https://docs.aws.amazon.com/cost-management/latest/userguide/getting-started-ad.html
_DEFAULT_MONITOR = {
    "MonitorName": "Default-Services-Monitor",
    "MonitorType": "DIMENSIONAL",
    "MonitorDimension": "SERVICE",
}


class Anomalies:
    """The operations."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._monitors: dict[str, dict[str, Any]] = {}
        self._subscriptions: dict[str, dict[str, Any]] = {}
        self._add_monitor(_DEFAULT_MONITOR, {})

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            "CreateAnomalyMonitor": self.create_monitor,
            "UpdateAnomalyMonitor": self.update_monitor,
            "DeleteAnomalyMonitor": self.delete_monitor,
            "GetAnomalyMonitors": self.monitors,
            "CreateAnomalySubscription": self.create_subscription,
            "UpdateAnomalySubscription": self.update_subscription,
            "DeleteAnomalySubscription": self.delete_subscription,
            "GetAnomalySubscriptions": self.subscriptions,
            "GetAnomalies": lambda request: {"Anomalies": []},
            "ListTagsForResource": self.list_tags,
        }

    def create_monitor(self, request: dict[str, Any]) -> dict[str, Any]:
        monitor = request["AnomalyMonitor"]
        dimensional = monitor["MonitorType"] == "DIMENSIONAL"
        if dimensional and "MonitorDimension" not in monitor:
            raise _invalid("MonitorDimension is required for a DIMENSIONAL monitor")
        if not dimensional and "MonitorSpecification" not in monitor:
            raise _invalid("MonitorSpecification is required for a CUSTOM monitor")
        if dimensional and any(one["MonitorType"] == "DIMENSIONAL" for one in self._monitors.values()):
            raise _invalid("Limit exceeded on dimensional spend monitor creation")
        return {"MonitorArn": self._add_monitor(monitor, _tags(request))}

    def _add_monitor(self, monitor: Mapping[str, Any], tags: dict[str, str]) -> str:
        arn = f"arn:aws:ce::{ACCOUNT_ID}:anomalymonitor/{uuid.uuid4()}"
        now = self._now()
        self._monitors[arn] = {**monitor, "MonitorArn": arn, "CreationDate": now, "LastUpdatedDate": now}
        self._account.tags[arn] = tags
        return arn

    def update_monitor(self, request: dict[str, Any]) -> dict[str, Any]:
        monitor = self._monitor(request["MonitorArn"])
        monitor["MonitorName"] = request.get("MonitorName", monitor["MonitorName"])
        monitor["LastUpdatedDate"] = self._now()
        return {"MonitorArn": request["MonitorArn"]}

    def delete_monitor(self, request: dict[str, Any]) -> dict[str, Any]:
        arn = request["MonitorArn"]
        self._monitor(arn)
        del self._monitors[arn]
        self._account.tags.pop(arn, None)
        for subscription in self._subscriptions.values():
            subscription["MonitorArnList"] = [one for one in subscription["MonitorArnList"] if one != arn]
        return {}

    def monitors(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("MonitorArnList")
        found = [self._monitor(arn) for arn in wanted] if wanted else list(self._monitors.values())
        return {"AnomalyMonitors": found}

    def create_subscription(self, request: dict[str, Any]) -> dict[str, Any]:
        subscription = request["AnomalySubscription"]
        if ("Threshold" in subscription) == ("ThresholdExpression" in subscription):
            raise _invalid("Specify either Threshold or ThresholdExpression")
        self._check(subscription)
        arn = f"arn:aws:ce::{ACCOUNT_ID}:anomalysubscription/{uuid.uuid4()}"
        self._subscriptions[arn] = {**subscription, "SubscriptionArn": arn, "AccountId": ACCOUNT_ID}
        self._account.tags[arn] = _tags(request)
        return {"SubscriptionArn": arn}

    def update_subscription(self, request: dict[str, Any]) -> dict[str, Any]:
        subscription = self._subscription(request["SubscriptionArn"])
        changed = {**subscription, **request}
        if "ThresholdExpression" in request:
            changed.pop("Threshold", None)
        elif "Threshold" in request:
            changed.pop("ThresholdExpression", None)
        self._check(changed)
        self._subscriptions[request["SubscriptionArn"]] = changed
        return {"SubscriptionArn": request["SubscriptionArn"]}

    def delete_subscription(self, request: dict[str, Any]) -> dict[str, Any]:
        arn = request["SubscriptionArn"]
        self._subscription(arn)
        del self._subscriptions[arn]
        self._account.tags.pop(arn, None)
        return {}

    def subscriptions(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted, of = request.get("SubscriptionArnList"), request.get("MonitorArn")
        found = [self._subscription(arn) for arn in wanted] if wanted else list(self._subscriptions.values())
        return {"AnomalySubscriptions": [one for one in found if of is None or of in one["MonitorArnList"]]}

    def list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        tags = self._account.tags.get(request["ResourceArn"])
        if tags is None:
            raise ServiceError("ResourceNotFoundException", f"There is no {request['ResourceArn']}.")
        return {"ResourceTags": [{"Key": key, "Value": value} for key, value in tags.items()]}

    def _check(self, subscription: Mapping[str, Any]) -> None:
        """SNS is told at once, e-mail daily or weekly: "Getting started with AWS Cost Anomaly Detection"."""
        kinds = {subscriber["Type"] for subscriber in subscription["Subscribers"]}
        if subscription["Frequency"] == "IMMEDIATE":
            if kinds != {"SNS"}:
                raise _invalid("Immediate frequency only supports SNS subscriptions")
        elif kinds != {"EMAIL"}:
            raise _invalid("Daily or weekly frequencies only support Email subscriptions")
        for arn in subscription["MonitorArnList"]:
            self._monitor(arn)

    def _monitor(self, arn: str) -> dict[str, Any]:
        if arn not in self._monitors:
            raise ServiceError("UnknownMonitorException", f"There is no anomaly monitor {arn}.")
        return self._monitors[arn]

    def _subscription(self, arn: str) -> dict[str, Any]:
        if arn not in self._subscriptions:
            raise ServiceError("UnknownSubscriptionException", f"There is no anomaly subscription {arn}.")
        return self._subscriptions[arn]

    def _now(self) -> str:
        return self._account.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _tags(request: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in request.get("ResourceTags") or []}


def _invalid(message: str) -> ServiceError:
    return ServiceError("ValidationException", message)


def install(account: Account) -> None:
    account.operations.setdefault("ce", {}).update(Anomalies(account).operations())
