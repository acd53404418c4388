"""What AWS itself says on the alerts topic, in the words of a notice: budgets, anomalies, alarms, health, functions.

The shapes are those of AWS's documentation; samples of each, with their addresses, are in events/. Whatever they lack
is left out of the text, because a field that AWS drops one day must not lose the alert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal

from mlplatform import budget_messages
from mlplatform.budget_messages import BudgetMessage
from mlplatform.records import dataclass


@dataclass(frozen=True)
class Reading:
    """A message that was understood."""

    subject: str
    text: str
    severity: Literal["info", "warning", "critical"]
    failed_function: str = ""  # whose event is lost, all its attempts used up


def read(subject: str, message: str, content: Mapping[str, Any]) -> Reading | None:
    """`content` is the message's JSON object, empty where it is prose. None for what is not recognised."""
    if not content:
        budget = budget_messages.read(subject, message)
        return _budget(budget) if budget else None
    detail = content.get("detail")
    detail = detail if isinstance(detail, Mapping) else {}
    match content:
        case {"AlarmName": _, "NewStateValue": _}:
            return _topic_alarm(content)
        case {"alarmData": {"alarmName": str(name), "state": Mapping() as state} as data}:
            return _alarm(name, data.get("configuration"), state, data.get("previousState"), content.get("region"))
        case {"detail-type": "CloudWatch Alarm State Change"} if isinstance(detail.get("state"), Mapping):
            return _alarm(
                str(detail.get("alarmName", "an alarm")),
                detail.get("configuration"),
                detail["state"],
                detail.get("previousState"),
                content.get("region"),
            )
        case {"detail-type": "Anomaly Detected"} if isinstance(detail.get("impact"), Mapping):
            return _anomaly(detail)
        case {"anomalyId": _, "impact": Mapping()}:
            return _anomaly(content)
        case {"detail-type": "AWS Health Event" | "AWS Health Abuse Event"} if detail:
            return _health(content, detail)
        case {"requestContext": {"functionArn": _} as context}:
            return _function_outcome(content, context)
    return None


# ----------------------------------------------------------------------------------------------------------- budgets
def _budget(said: BudgetMessage) -> Reading:
    amount, limit = _amount(said.amount, said.unit), _amount(said.limit, said.unit)
    doing = "forecast" if said.forecast else "spent"
    if amount and limit:
        of = f"{amount} of {limit} {doing}" if not said.forecast else f"{amount} forecast, {limit} budgeted"
        subject = f"Budget {said.budget}: {of}" + (f" ({said.percent} %)" if said.percent is not None else "")
    elif amount:
        subject = f"Budget {said.budget}: {amount} {doing}"
    else:
        subject = f"Budget {said.budget}: more than {_amount(said.threshold, said.unit)} {doing}"
    when = {"day": "yesterday", None: ""}.get(said.period, f"this {said.period}")
    lines = [
        f"{'Forecast' if said.forecast else 'Spent'}{f' {when}' if when else ''}: {amount}." if amount else "",
        f"The alert was set to {_amount(said.threshold, said.unit)}." if said.threshold is not None else "",
        f"Budgeted: {limit}{f' a {said.period}' if said.period else ''}." if limit else "",
    ]
    told_late = "AWS Budgets looks some hours back and stops nothing; `mlp summary` shows what runs now."
    account = f"Account {said.account}. " if said.account else ""
    text = "\n\n".join([" ".join(filter(None, lines)), f"{account}{told_late}"])
    return Reading(subject, text, "critical" if said.exceeded else "warning")


def _amount(number: Decimal | None, unit: str) -> str:
    if number is None:
        return ""
    if unit and not unit[0].isalpha() and unit != "%":
        return f"{'-' if number < 0 else ''}{unit}{abs(number):,}"
    return f"{number:,} {unit}".strip()


# --------------------------------------------------------------------------------------------------------- anomalies
def _anomaly(said: Mapping[str, Any]) -> Reading:
    """Cost Anomaly Detection: a topic gets `dimensionalValue` where an event has `dimensionValue`."""
    what = str(said.get("dimensionalValue") or said.get("dimensionValue") or "an unnamed service")
    impact = said["impact"]
    total, percent = _usd(impact.get("totalImpact")), impact.get("totalImpactPercentage")
    expected, actual = _usd(impact.get("totalExpectedSpend")), _usd(impact.get("totalActualSpend"))
    since, until = (str(said.get(key) or "")[:10] for key in ("anomalyStartDate", "anomalyEndDate"))
    lines = [
        f"{actual or 'An unknown amount'} was spent where {expected} was to be expected"
        f"{f' ({percent} % more)' if percent is not None else ''}."
        if expected
        else "",
        (f"From {since} to {until}." if until and until != since else f"On {since}.") if since else "",
    ]
    causes = [_cause(cause) for cause in _mappings(said.get("rootCauses"))]
    parts = [" ".join(filter(None, lines)), *causes, str(said.get("anomalyDetailsLink") or "")]
    return Reading(
        f"Cost anomaly: {f'{total} too much for ' if total else ''}{what}", "\n\n".join(filter(None, parts)), "warning"
    )


def _cause(cause: Mapping[str, Any]) -> str:
    where = [str(cause[key]) for key in ("service", "region", "usageType") if cause.get(key)]
    account = cause.get("linkedAccountName") or cause.get("linkedAccount")
    contribution = (cause.get("impact") or {}).get("contribution") if isinstance(cause.get("impact"), Mapping) else None
    said = ", ".join([*where, *([f"account {account}"] if account else [])])
    amount = _usd(contribution)
    return f"Perhaps because of {said}{f': {amount}' if amount else ''}." if said else ""


def _usd(value: Any) -> str:
    return f"${value:,.2f}" if isinstance(value, (int, float)) and not isinstance(value, bool) else ""


# ------------------------------------------------------------------------------------------------------------ alarms
def _topic_alarm(said: Mapping[str, Any]) -> Reading:
    """As a topic gets it: "Notifying users on alarm changes" (CloudWatch user guide)."""
    return _alarm(
        str(said["AlarmName"]),
        {"description": said.get("AlarmDescription")},
        {"value": said["NewStateValue"], "reason": said.get("NewStateReason")},
        {"value": said.get("OldStateValue")},
        said.get("Region"),
    )


def _alarm(name: str, configuration: Any, state: Mapping[str, Any], before: Any, region: Any) -> Reading:
    """ "Invoke a Lambda function from an alarm" and "Alarm events and EventBridge" (same guide) agree on these."""
    value = str(state.get("value", "unknown"))
    was = (before.get("value") if isinstance(before, Mapping) else None) or "unknown"
    said = [
        str((configuration.get("description") if isinstance(configuration, Mapping) else "") or ""),
        str(state.get("reason") or ""),
        f"Was {was}, in {region or 'an unnamed region'}.",
    ]
    severity: Literal["info", "warning", "critical"] = "warning"
    if value in ("ALARM", "OK"):
        severity = "critical" if value == "ALARM" else "info"
    return Reading(f"{value}: {name}", "\n\n".join(filter(None, said)), severity)


# ------------------------------------------------------------------------------------------------------------ health
def _health(event: Mapping[str, Any], said: Mapping[str, Any]) -> Reading:
    """ "AWS Health events Amazon EventBridge schema" (AWS Health user guide)."""
    service, region = said.get("service", "AWS"), said.get("eventRegion") or event.get("region")
    category, status = str(said.get("eventTypeCategory", "event")), str(said.get("statusCode", ""))
    words = {
        "issue": "issue",
        "scheduledChange": "scheduled change",
        "accountNotification": "notification",
        "investigation": "investigation",
    }.get(category, category)
    closed = status == "closed"
    subject = f"AWS Health: {service} {words}{' closed' if closed else ''}{f' in {region}' if region else ''}"
    described = [
        str(description.get("latestDescription") or "")
        for description in _mappings(said.get("eventDescription"))
        if str(description.get("language", "en_US")).startswith("en")
    ]
    affected = [
        str(entity["entityValue"]) for entity in _mappings(said.get("affectedEntities")) if entity.get("entityValue")
    ]
    times = [f"{word} {said[key]}" for key, word in (("startTime", "from"), ("endTime", "to")) if said.get(key)]
    parts = [
        *described,
        f"Affected: {', '.join(affected)}." if affected else "",
        f"{' '.join([str(said.get('eventTypeCode', '')), *times]).strip()}.",
        str(said.get("eventArn") or ""),
    ]
    severity: Literal["info", "warning", "critical"] = "warning"
    if closed or category == "issue":
        severity = "info" if closed else "critical"
    return Reading(subject, "\n\n".join(filter(None, parts)), severity)


def _mappings(value: Any) -> Iterable[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


# --------------------------------------------------------------------------------------------------------- functions
def _function_outcome(content: Mapping[str, Any], context: Mapping[str, Any]) -> Reading:
    """A record of a failure destination: "Capturing records of Lambda asynchronous invocations" (Lambda guide).

    The event that failed is left out: it may be long, and its log has it.
    """
    function = str(context["functionArn"]).split(":function:")[-1].split(":")[0]
    condition = str(context.get("condition", "unknown"))
    if condition == "Success":
        return Reading(f"{function} succeeded", f"Request {context.get('requestId')} succeeded.", "info")
    answer = content.get("responsePayload")
    failed = answer if isinstance(answer, Mapping) else {}  # null when the event expired before it was tried
    kind, message = failed.get("errorType"), failed.get("errorMessage")
    what = ": ".join(str(part) for part in (kind, message) if part) or "No error was recorded."
    times = context.get("approximateInvokeCount", "an unknown number of")
    text = (
        f"{what}\n\n{condition} after {times} attempts. Request {context.get('requestId', 'unknown')}; its log is in "
        f"/aws/lambda/{function}."
    )
    return Reading(f"{function} failed", text, "critical", function)
