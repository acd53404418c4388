"""AWS Budgets over the laptop's bill: cost budgets, and the message that AWS sends when a threshold is passed.

API: https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_Operations_AWS_Budgets.html
AWS looks at a budget up to three times a day; the laptop does whenever something is put on the bill or the clock is
moved, and once a minute. A threshold is told once per period, and nothing is told when the costs fall below it again.
The text has the form of messages that people have published; the percentage of the threshold is not in it.
"""

from __future__ import annotations

import copy
import json
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from laptop import costs
from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.bill import Bill, Line
from laptop.errors import ServiceError
from laptop.iam import allows_service

PRINCIPAL = "budgets.amazonaws.com"
NOTIFICATIONS_LIMIT = 10  # per budget; subscribers per notification: the template reference of AWS::Budgets::Budget
EMAILS_LIMIT = 10
_SUBJECT_LIMIT = 100  # SNS, Publish
_LAST_DAY = datetime(2087, 6, 15, tzinfo=UTC)  # "the default is 06/15/87 00:00 UTC": TimePeriod, Budgets API reference
_TICK_SECONDS = 60.0
_CONSOLE = "https://console.aws.amazon.com/costmanagement/home#/budgets"
_COST_TYPES = {
    "IncludeTax": True,
    "IncludeSubscription": True,
    "UseBlended": False,
    "IncludeRefund": True,
    "IncludeCredit": True,
    "IncludeUpfront": True,
    "IncludeRecurring": True,
    "IncludeOtherSubscription": True,
    "IncludeSupport": True,
    "IncludeDiscount": True,
    "UseAmortized": False,
}
# The names that CostFilters has for what Cost Explorer calls a dimension.
_FILTER_DIMENSIONS = {
    "Service": "SERVICE",
    "UsageType": "USAGE_TYPE",
    "LinkedAccount": "LINKED_ACCOUNT",
    "Region": "REGION",
    "InstanceType": "INSTANCE_TYPE",
}
_WORDS = {"GREATER_THAN": ("greater than", ">"), "LESS_THAN": ("less than", "<"), "EQUAL_TO": ("equal to", "=")}
_PASSED: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "GREATER_THAN": lambda amount, threshold: amount > threshold,
    "LESS_THAN": lambda amount, threshold: amount < threshold,
    "EQUAL_TO": lambda amount, threshold: amount == threshold,
}


@dataclass(frozen=True)
class Notification:
    """A threshold. `threshold_usd` depends on the budget's limit where it is a percentage."""

    kind: str  # ACTUAL or FORECASTED
    operator: str
    threshold: Decimal
    percentage: bool

    @classmethod
    def read(cls, request: Mapping[str, Any]) -> Notification:
        return cls(
            request["NotificationType"],
            request["ComparisonOperator"],
            Decimal(str(request["Threshold"])),
            request.get("ThresholdType", "PERCENTAGE") == "PERCENTAGE",
        )

    def shown(self, state: str) -> dict[str, Any]:
        return {
            "NotificationType": self.kind,
            "ComparisonOperator": self.operator,
            "Threshold": float(self.threshold),
            "ThresholdType": "PERCENTAGE" if self.percentage else "ABSOLUTE_VALUE",
            "NotificationState": state,
        }

    def threshold_usd(self, limit: Decimal) -> Decimal:
        return limit * self.threshold / 100 if self.percentage else self.threshold

    def passed_by(self, amount: Decimal, limit: Decimal) -> bool:
        return _PASSED[self.operator](amount, self.threshold_usd(limit))


@dataclass
class Budget:
    """A budget, its notifications with their subscribers, and which of them have been told in which period."""

    definition: dict[str, Any]
    subscribers: dict[Notification, list[dict[str, str]]] = field(default_factory=dict)
    told: set[tuple[Notification, date]] = field(default_factory=set)
    states: dict[Notification, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.definition["BudgetName"])

    @property
    def arn(self) -> str:
        return f"arn:aws:budgets::{ACCOUNT_ID}:budget/{self.name}"

    @property
    def limit(self) -> Decimal:
        return Decimal(self.definition["BudgetLimit"]["Amount"])

    @property
    def unit(self) -> str:
        return str(self.definition["TimeUnit"])

    def counts(self, line: Line, active_tags: set[str]) -> bool:
        """Whether a line of the bill is one of this budget's. Raises costs.BadFilter."""
        expression = self.definition.get("FilterExpression")
        if expression is not None:
            return costs.matches(expression, line, active_tags)
        types = self.definition["CostTypes"]
        included = {"Tax": types["IncludeTax"], "Credit": types["IncludeCredit"], "Refund": types["IncludeRefund"]}
        if not included.get(line.record_type, True):
            return False
        filters = self.definition.get("CostFilters", {})
        return all(_passes(kind, values, line, active_tags) for kind, values in filters.items())


def _passes(kind: str, values: Iterable[str], line: Line, active_tags: set[str]) -> bool:
    """One entry of CostFilters. A tag is written `user:Key$Value`; without `user:` AWS accepts it and finds nothing."""
    if kind != "TagKeyValue":
        return costs.dimension(line, _FILTER_DIMENSIONS[kind]) in values
    for value in values:
        key, dollar, wanted = value.partition("$")
        if key.startswith("user:") and dollar and costs.tag(line, key.removeprefix("user:"), active_tags) == wanted:
            return True
    return False


@dataclass(frozen=True)
class Alert:
    """A threshold that was passed, as it is told."""

    budget: Budget
    notification: Notification
    amount: Decimal
    on: date

    @property
    def subject(self) -> str:
        return f"AWS Budgets: {self.budget.name} has exceeded your alert threshold"[:_SUBJECT_LIMIT]

    @property
    def text(self) -> str:
        kind, budget = self.notification.kind, self.budget
        words, sign = _WORDS[self.notification.operator]
        threshold = dollars(self.notification.threshold_usd(budget.limit))
        amount = dollars(self.amount)
        if budget.unit == "DAILY":
            when, then = "per day", "Yesterday, the"
        else:
            unit = {"MONTHLY": "month", "QUARTERLY": "quarter", "ANNUALLY": "year"}[budget.unit]
            when, then = f"for the current {unit}", "The"
        return (
            f"AWS Budget Notification {self.on:%B %d, %Y}\n"
            f"AWS Account {ACCOUNT_ID}\n\n"
            "Dear AWS Customer,\n\n"
            f"You requested that we alert you when the {kind} Cost associated with your {budget.name} budget is "
            f"{words} {threshold} {when}. {then} {kind} Cost associated with this budget is {amount}. You can find "
            "additional details below and by accessing the AWS Budgets dashboard [1].\n\n"
            f"Budget Name: {budget.name}\n"
            "Budget Type: Cost\n"
            f"Budgeted Amount: {dollars(budget.limit)}\n"
            f"Alert Type: {kind}\n"
            f"Alert Threshold: {sign} {threshold}\n"
            f"{kind} Amount: {amount}\n\n"
            f"[1] {_CONSOLE}\n"
        )


def dollars(amount: Decimal) -> str:
    """$1,234.50, or -$3.00 for credits."""
    cents = abs(amount).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"{'-' if amount < 0 else ''}${cents:,}"


class Budgets:
    """The operations, and the watch over the bill."""

    def __init__(self, account: Account, bill: Bill) -> None:
        self._account = account
        self._bill = bill
        self._budgets: dict[str, Budget] = {}
        self._lock = threading.RLock()
        self._due = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="budgets", daemon=True)

    def start(self) -> None:
        self._bill.subscribe(self._due.set)
        self._account.clock.subscribe(lambda old, new: self.evaluate())
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._due.set()
        self._thread.join(2)

    def operations(self) -> dict[str, Callable[[dict[str, Any]], dict[str, Any]]]:
        return {
            name: self._in_this_account(operation)
            for name, operation in {
                "CreateBudget": self.create,
                "UpdateBudget": self.update,
                "DeleteBudget": self.delete,
                "DescribeBudget": self.describe,
                "DescribeBudgets": self.describe_all,
                "CreateNotification": self.create_notification,
                "UpdateNotification": self.update_notification,
                "DeleteNotification": self.delete_notification,
                "DescribeNotificationsForBudget": self.describe_notifications,
                "DescribeSubscribersForNotification": self.describe_subscribers,
                "CreateSubscriber": self.create_subscriber,
                "DeleteSubscriber": self.delete_subscriber,
                "ListTagsForResource": self.list_tags,
                "TagResource": self.tag,
                "UntagResource": self.untag,
            }.items()
        }

    @staticmethod
    def _in_this_account(
        operation: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def checked(request: dict[str, Any]) -> dict[str, Any]:
            if request.get("AccountId", ACCOUNT_ID) != ACCOUNT_ID:
                raise ServiceError("AccessDeniedException", f"Account {request['AccountId']} is not this account.")
            return operation(request)

        return checked

    # --- budgets ----------------------------------------------------------------------------------------------------

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        definition = self._checked(request["Budget"])
        budget = Budget(definition)
        for entry in request.get("NotificationsWithSubscribers") or []:
            self._add_notification(budget, entry["Notification"], entry["Subscribers"])
        with self._lock:
            if budget.name in self._budgets:
                raise ServiceError(
                    "DuplicateRecordException", f"Error creating budget: {budget.name} - the budget already exists."
                )
            self._budgets[budget.name] = budget
            self._account.tags[budget.arn] = {tag["Key"]: tag["Value"] for tag in request.get("ResourceTags") or []}
        self._due.set()
        return {}

    def _checked(self, budget: Mapping[str, Any]) -> dict[str, Any]:
        """The budget with its defaults. Raises ServiceError."""
        definition = copy.deepcopy(dict(budget))
        if definition["BudgetType"] != "COST":
            raise _invalid(f"The laptop's bill has costs; it can't evaluate a {definition['BudgetType']} budget.")
        if definition["TimeUnit"] == "CUSTOM":
            raise _invalid("The laptop does not evaluate budgets over a custom period.")
        if "BudgetLimit" not in definition:
            raise _invalid(
                "Unable to create/update budget - please provide one of the followings: Budget Limit/ Planned Budget "
                "Limit/ Auto Adjust Data (the laptop has the first only)"
            )
        if definition["BudgetLimit"]["Unit"] != "USD":
            raise _invalid(f"Unable to create/update budget - the unit {definition['BudgetLimit']['Unit']} is not USD")
        if ("FilterExpression" in definition or "Metrics" in definition) and (
            "CostFilters" in definition or "CostTypes" in definition
        ):
            raise _invalid("FilterExpression and Metrics can't be combined with CostFilters and CostTypes")
        for name in definition.get("CostFilters", {}):
            if name != "TagKeyValue" and name not in _FILTER_DIMENSIONS:
                raise _invalid(f"Unable to create/update budget - the laptop has no cost filter {name}")
        if expression := definition.get("FilterExpression"):
            try:
                costs.matches(expression, Line(date.min, "", "", Decimal(0)), set())
            except costs.BadFilter as error:
                raise _invalid(str(error)) from error
        else:
            definition["CostTypes"] = {**_COST_TYPES, **definition.get("CostTypes", {})}
        now = self._account.clock.now()
        first = datetime(now.year, now.month, 1, tzinfo=UTC)
        definition["TimePeriod"] = {"Start": first, "End": _LAST_DAY, **definition.get("TimePeriod", {})}
        if definition["TimePeriod"]["Start"] >= definition["TimePeriod"]["End"]:
            raise _invalid("Start time should be before end time")
        definition.pop("CalculatedSpend", None)
        return {**definition, "LastUpdatedTime": now}

    def update(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget = self._budget(request["NewBudget"]["BudgetName"])
            budget.definition = self._checked(request["NewBudget"])
        self._due.set()
        return {}

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget = self._budget(request["BudgetName"])
            del self._budgets[budget.name]
            self._account.tags.pop(budget.arn, None)
        return {}

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"Budget": self._shown(self._budget(request["BudgetName"]), self._bill.lines())}

    def describe_all(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budgets = sorted(self._budgets.values(), key=lambda budget: budget.name)
        page, more = _page(budgets, request, 100)
        lines = self._bill.lines()
        return {"Budgets": [self._shown(budget, lines) for budget in page], **more}

    def _shown(self, budget: Budget, lines: list[Line]) -> dict[str, Any]:
        _, actual, expected = self._spend(budget, lines, for_alerts=False)
        spend = {"ActualSpend": _spend(actual)}
        if expected is not None:
            spend["ForecastedSpend"] = _spend(expected)
        return {**budget.definition, "CalculatedSpend": spend}

    def _budget(self, name: str) -> Budget:
        with self._lock:
            if name not in self._budgets:
                raise ServiceError(
                    "NotFoundException",
                    f"Unable to get budget: {name} - the budget doesn't exist.",
                )
            return self._budgets[name]

    # --- notifications ----------------------------------------------------------------------------------------------

    def _add_notification(
        self, budget: Budget, request: Mapping[str, Any], subscribers: Iterable[Mapping[str, str]]
    ) -> None:
        notification = Notification.read(request)
        if notification in budget.subscribers:
            raise ServiceError("DuplicateRecordException", "Duplicate notification for the budget.")
        if len(budget.subscribers) >= NOTIFICATIONS_LIMIT:
            raise ServiceError(
                "CreationLimitExceededException", f"A budget has at most {NOTIFICATIONS_LIMIT} notifications."
            )
        added: list[dict[str, str]] = []
        for subscriber in subscribers:
            _add_subscriber(added, subscriber)
        if not added:
            raise _invalid("A notification needs at least one subscriber.")
        budget.subscribers[notification] = added

    def create_notification(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget = self._budget(request["BudgetName"])
            self._add_notification(budget, request["Notification"], request["Subscribers"])
        self._due.set()
        return {}

    def update_notification(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget, old = self._notification(request, "OldNotification")
            new = Notification.read(request["NewNotification"])
            if new != old and new in budget.subscribers:
                raise ServiceError("DuplicateRecordException", "Duplicate notification for the budget.")
            budget.subscribers[new] = budget.subscribers.pop(old)
        self._due.set()
        return {}

    def delete_notification(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget, notification = self._notification(request)
            del budget.subscribers[notification]
            budget.states.pop(notification, None)
        return {}

    def describe_notifications(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget = self._budget(request["BudgetName"])
            shown = [one.shown(budget.states.get(one, "OK")) for one in budget.subscribers]
        page, more = _page(shown, request, 100)
        return {"Notifications": page, **more}

    def describe_subscribers(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget, notification = self._notification(request)
            page, more = _page(list(budget.subscribers[notification]), request, 100)
        return {"Subscribers": page, **more}

    def create_subscriber(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget, notification = self._notification(request)
            _add_subscriber(budget.subscribers[notification], request["Subscriber"])
        return {}

    def delete_subscriber(self, request: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            budget, notification = self._notification(request)
            try:
                budget.subscribers[notification].remove(request["Subscriber"])
            except ValueError:
                raise ServiceError("NotFoundException", "The subscriber doesn't exist.") from None
        return {}

    def _notification(self, request: Mapping[str, Any], member: str = "Notification") -> tuple[Budget, Notification]:
        budget = self._budget(request["BudgetName"])
        notification = Notification.read(request[member])
        if notification not in budget.subscribers:
            raise ServiceError("NotFoundException", f"The notification doesn't exist for budget {budget.name}.")
        return budget, notification

    # --- tags of budgets --------------------------------------------------------------------------------------------

    def _tags(self, request: Mapping[str, Any]) -> dict[str, str]:
        found = self._account.tags.get(request["ResourceARN"])
        if found is None:
            raise ServiceError("NotFoundException", f"There is no budget {request['ResourceARN']}.")
        return found

    def list_tags(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"ResourceTags": [{"Key": key, "Value": value} for key, value in self._tags(request).items()]}

    def tag(self, request: dict[str, Any]) -> dict[str, Any]:
        self._tags(request).update({tag["Key"]: tag["Value"] for tag in request["ResourceTags"]})
        return {}

    def untag(self, request: dict[str, Any]) -> dict[str, Any]:
        for key in request["ResourceTagKeys"]:
            self._tags(request).pop(key, None)
        return {}

    # --- the watch --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._closed.is_set():
            self._due.wait(_TICK_SECONDS)
            self._due.clear()
            if self._closed.is_set():
                return
            try:
                self.evaluate()
            except Exception:  # the next change of the bill gets its chance all the same
                traceback.print_exc()

    def evaluate(self) -> None:
        """Holds every budget against the bill and tells what was passed for the first time in its period."""
        with self._lock:
            alerts = self._alerts()
        for alert in alerts:
            self._tell(alert)

    def _alerts(self) -> list[Alert]:
        if not self._budgets:
            return []
        now = self._account.clock.now()
        lines = self._bill.lines()
        alerts = []
        for budget in self._budgets.values():
            valid = budget.definition["TimePeriod"]
            if not valid["Start"] <= now < valid["End"]:
                continue
            start, actual, expected = self._spend(budget, lines, for_alerts=True)
            for notification in budget.subscribers:
                amount = actual if notification.kind == "ACTUAL" else expected
                passed = amount is not None and notification.passed_by(amount, budget.limit)
                budget.states[notification] = "ALARM" if passed else "OK"
                if passed and amount is not None and (notification, start) not in budget.told:
                    budget.told.add((notification, start))
                    alerts.append(Alert(budget, notification, amount, now.date()))
        return alerts

    def _spend(
        self, budget: Budget, lines: Iterable[Line], *, for_alerts: bool
    ) -> tuple[date, Decimal, Decimal | None]:
        """The period's first day, what it has cost, and what it will have cost; None without enough history.

        A daily budget's alerts are about the day before, when that is complete: their text begins with "Yesterday".
        """
        today = self._account.clock.now().date()
        start, end = _period(budget.unit, today)
        if for_alerts and budget.unit == "DAILY":
            start, end = today - timedelta(days=1), today
        active = self._bill.active_tags()
        own = [line for line in lines if budget.counts(line, active)]
        actual = costs.total(line for line in own if start <= line.day < end)
        expected = costs.forecast(own, today)
        if expected is None or end <= today:
            return start, actual, None
        past = costs.total(line for line in own if start <= line.day < today)
        spent_today = actual - past
        return start, actual, past + max(spent_today, expected.mean) + expected.mean * ((end - today).days - 1)

    def _tell(self, alert: Alert) -> None:
        told: dict[str, Any] = {"budget": alert.budget.name, "subject": alert.subject, "amount": dollars(alert.amount)}
        for subscriber in list(alert.budget.subscribers.get(alert.notification, [])):
            to = subscriber["Address"]
            try:
                if subscriber["SubscriptionType"] == "SNS":
                    self._publish(alert, to)
                else:
                    self._account.inbox.add("email", alert.text, subject=alert.subject, to=to)
            except Exception as error:  # one bad address must not cost the others their alert
                self._account.journal.record("budget", **told, to=to, error=str(error))
            else:
                self._account.journal.record("budget", **told, to=to)

    def _publish(self, alert: Alert, topic_arn: str) -> None:
        """Raises ServiceError if the topic's policy does not let Budgets publish for this budget.

        https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-sns-policy.html
        """
        from moto.sns.models import sns_backends

        topic = sns_backends[ACCOUNT_ID][REGION].topics.get(topic_arn)
        if topic is None:
            raise ServiceError("NotFoundException", f"There is no topic {topic_arn}.")
        policy = json.loads(topic.policy) if topic.policy else {}
        context = {"aws:SourceArn": alert.budget.arn, "aws:SourceAccount": ACCOUNT_ID}
        if not allows_service(policy, PRINCIPAL, "sns:Publish", topic_arn, context):
            raise ServiceError(
                "AccessDeniedException",
                f"The policy of {topic_arn} does not let {PRINCIPAL} publish for {alert.budget.arn}.",
            )
        self._account.client("sns").publish(TopicArn=topic_arn, Subject=alert.subject, Message=alert.text)


def _period(unit: str, today: date) -> tuple[date, date]:
    """The first day of the budget's period that `today` lies in, and the first day after it."""
    match unit:
        case "DAILY":
            return today, today + timedelta(days=1)
        case "MONTHLY":
            start, months = today.replace(day=1), 1
        case "QUARTERLY":
            start, months = today.replace(month=(today.month - 1) // 3 * 3 + 1, day=1), 3
        case _:
            start, months = today.replace(month=1, day=1), 12
    end = start
    for _ in range(months):
        end = costs.first_of_next_month(end)
    return start, end


def _spend(amount: Decimal) -> dict[str, str]:
    """With three decimals, as the API shows it. Budgets' amounts have no sign: credits beyond the costs count as 0."""
    return {"Amount": f"{max(amount, Decimal(0)):.3f}", "Unit": "USD"}


def _add_subscriber(present: list[dict[str, str]], subscriber: Mapping[str, str]) -> None:
    """Raises ServiceError beyond one topic and ten addresses per notification, and for what is neither."""
    kind, address = subscriber["SubscriptionType"], subscriber["Address"]
    if dict(subscriber) in present:
        raise ServiceError("DuplicateRecordException", f"Duplicate subscriber {address}.")
    if kind == "SNS" and not address.startswith("arn:aws:sns:"):
        raise _invalid(f"{address} is not the ARN of a topic.")
    if kind == "EMAIL" and "@" not in address:
        raise _invalid(f"{address} is not an e-mail address.")
    limit = 1 if kind == "SNS" else EMAILS_LIMIT
    if sum(one["SubscriptionType"] == kind for one in present) >= limit:
        raise ServiceError(
            "CreationLimitExceededException", f"A notification has at most {limit} subscribers of the type {kind}."
        )
    present.append(dict(subscriber))


def _page(items: list[Any], request: Mapping[str, Any], default: int) -> tuple[list[Any], dict[str, str]]:
    token = request.get("NextToken", "0")
    if not token.isdigit():
        raise ServiceError("InvalidNextTokenException", "The pagination token is invalid.")
    start = int(token)
    end = start + int(request.get("MaxResults") or default)
    return items[start:end], ({"NextToken": str(end)} if end < len(items) else {})


def _invalid(message: str) -> ServiceError:
    return ServiceError("InvalidParameterException", message)


def install(account: Account) -> Budgets:
    """Needs the bill; comes after the services that still tell the bill something while they shut down."""
    assert isinstance(account.bill, Bill)
    budgets = Budgets(account, account.bill)
    account.operations.setdefault("budgets", {}).update(budgets.operations())
    budgets.start()
    account.closers.append(budgets.close)
    return budgets
