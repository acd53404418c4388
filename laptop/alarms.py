"""CloudWatch metric alarms, evaluated on what was really measured, with the actions AWS takes.

Evaluation: CloudWatch user guide, "Alarm evaluation" and "Configuring how CloudWatch alarms treat missing data".
The message to SNS has the shape that CloudWatch sends (AlarmName, NewStateValue, Trigger, ...); the event is
"CloudWatch Alarm State Change" (EventBridge reference, CloudWatch events). An alarm's periods pass at the laptop's
pace: 60 s of period are one laptop minute (laptop/metrics.py). But one that looks back over an hour or more waits for
what schedules do, which run by the account's clock: its periods are those of that clock, and pass when it is moved.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.metrics import MetricStore, key

BREACHES: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
CLOCK_MINUTES = 60  # what an alarm looks back over from which on the account's clock counts
OPERATOR_TEXT = {
    "GreaterThanThreshold": "greater than",
    "GreaterThanOrEqualToThreshold": "greater than or equal to",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "less than or equal to",
}


def judge(
    values: list[float | None],
    *,
    breaches: Callable[[float], bool],
    datapoints_to_alarm: int,
    treat_missing_data: str,
    state: str,
) -> str:
    """The alarm's state after these evaluation periods (newest first, None where there is no datapoint)."""
    present = [value for value in values if value is not None]
    missing = len(values) - len(present)
    breaching = sum(breaches(value) for value in present)
    if not present and treat_missing_data == "missing":
        return "INSUFFICIENT_DATA"
    if treat_missing_data == "breaching":
        breaching += missing
    if breaching >= datapoints_to_alarm:
        return "ALARM"
    if treat_missing_data == "ignore" and breaching + missing >= datapoints_to_alarm:
        return state
    if treat_missing_data == "missing" and breaching == len(present):
        # "Avoiding premature transitions to alarm state": a lone breach must be as old as the alarm wants breaches
        oldest = max(age for age, value in enumerate(values, 1) if value is not None)
        return "ALARM" if oldest >= datapoints_to_alarm else state
    return "OK"


class Alarms:
    """Evaluates every metric alarm of the account, once per laptop minute."""

    def __init__(self, account: Account, store: MetricStore) -> None:
        self.account = account
        self.store = store
        self._seen: dict[str, Any] = {}

    def evaluate(self) -> None:
        from moto.cloudwatch.models import cloudwatch_backends

        alarms = cloudwatch_backends[ACCOUNT_ID][REGION].alarms
        self._seen = {name: seen for name, seen in self._seen.items() if name in alarms}
        for alarm in list(alarms.values()):
            if not alarm.metric_name or alarm.comparison_operator not in BREACHES:
                continue  # metric math and composite alarms are not evaluated here
            try:
                self._evaluate(alarm)
            except Exception as error:  # one bad alarm must not stop the others, nor the scaling that follows
                print(f"alarm {alarm.name}: {type(error).__name__}: {error}", file=sys.stderr)

    def ringing(self, action: str) -> list[Any]:
        """The alarms in ALARM that have this action."""
        from moto.cloudwatch.models import cloudwatch_backends

        alarms = list(cloudwatch_backends[ACCOUNT_ID][REGION].alarms.values())
        return [
            alarm
            for alarm in alarms
            if alarm.state_value == "ALARM" and alarm.actions_enabled and action in (alarm.alarm_actions or ())
        ]

    def newest(self, alarm: Any) -> float | None:
        """The metric's value in the alarm's newest period, None if it has none there."""
        return self._values(alarm)[0]

    def _values(self, alarm: Any) -> list[float | None]:
        """Of the periods that the alarm looks back over, newest first."""
        periods = int(alarm.evaluation_periods)
        where = key(alarm.namespace, alarm.metric_name, ((d.name, d.value) for d in alarm.dimensions))
        minutes_each = max(round(int(alarm.period or 60) / 60), 1)
        statistic = alarm.statistic or "Average"
        if minutes_each * periods >= CLOCK_MINUTES:
            found = self.store.since(where, minutes_each, periods, self.account.clock.now())
        else:
            found = self.store.periods(where, minutes_each, periods)
        return [one.value(statistic) if one is not None else None for one in found]

    def _evaluate(self, alarm: Any) -> None:
        seen = self._seen.get(alarm.name)
        if seen is not alarm:
            # a new alarm begins without data; an alarm that was put again keeps its state (PutMetricAlarm reference)
            alarm.state_value = seen.state_value if seen is not None else "INSUFFICIENT_DATA"
            self._seen[alarm.name] = alarm
        periods = int(alarm.evaluation_periods)
        needed = int(alarm.datapoints_to_alarm or periods)
        values = self._values(alarm)
        threshold = float(alarm.threshold)
        state = judge(
            values,
            breaches=lambda value: BREACHES[alarm.comparison_operator](value, threshold),
            datapoints_to_alarm=needed,
            treat_missing_data=alarm.treat_missing_data or "missing",
            state=alarm.state_value,
        )
        if state == alarm.state_value:
            return
        shown = [value for value in values if value is not None]
        if state == "INSUFFICIENT_DATA":
            reason = f"Insufficient Data: {periods} datapoints were unknown."
        else:
            not_ = "" if state == "ALARM" else "not "
            reason = (
                f"Threshold Crossed: {len(shown)} datapoint(s) {shown} were {not_}"
                f"{OPERATOR_TEXT[alarm.comparison_operator]} the threshold ({threshold})."
            )
        old, now = alarm.state_value, self.account.clock.now()
        data = {"version": "1.0", "queryDate": now.isoformat(), "recentDatapoints": shown, "threshold": threshold}
        alarm.update_state(reason, json.dumps(data), state)
        self.account.journal.record("alarm", alarm=alarm.name, state=state, before=old, reason=reason)
        self._tell(alarm, old, now)

    def _tell(self, alarm: Any, old: str, now: datetime) -> None:
        self.account.events.put(
            "aws.cloudwatch",
            "CloudWatch Alarm State Change",
            {
                "alarmName": alarm.name,
                "state": {
                    "value": alarm.state_value,
                    "reason": alarm.state_reason,
                    "reasonData": alarm.state_reason_data,
                    "timestamp": now.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
                },
                "previousState": {"value": old},
                "configuration": {"description": alarm.description or ""},
            },
            (alarm.alarm_arn,),
        )
        if not alarm.actions_enabled:
            return
        actions: list[str] = {
            "ALARM": alarm.alarm_actions,
            "OK": alarm.ok_actions,
            "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
        }[alarm.state_value]
        message = json.dumps(notification(alarm, old, now))
        for action in actions or []:
            if action.startswith("arn:aws:sns:"):
                subject = f'{alarm.state_value}: "{alarm.name}" in US East (N. Virginia)'[:100]
                self.account.client("sns").publish(TopicArn=action, Subject=subject, Message=message)
            elif action.startswith("arn:aws:lambda:"):
                self.account.functions.invoke_async(action, message.encode())


def notification(alarm: Any, old: str, now: datetime) -> dict[str, Any]:
    """The JSON text that CloudWatch publishes to an alarm's SNS topic."""
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": ACCOUNT_ID,
        "AlarmConfigurationUpdatedTimestamp": f"{alarm.configuration_updated_timestamp.isoformat()}+0000",
        "NewStateValue": alarm.state_value,
        "NewStateReason": alarm.state_reason,
        "StateChangeTime": now.strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
        "Region": "US East (N. Virginia)",
        "AlarmArn": alarm.alarm_arn,
        "OldStateValue": old,
        "OKActions": alarm.ok_actions or [],
        "AlarmActions": alarm.alarm_actions or [],
        "InsufficientDataActions": alarm.insufficient_data_actions or [],
        "Trigger": {
            "MetricName": alarm.metric_name,
            "Namespace": alarm.namespace,
            "StatisticType": "Statistic",
            "Statistic": (alarm.statistic or "Average").upper(),
            "Unit": alarm.unit,
            "Dimensions": [{"value": d.value, "name": d.name} for d in alarm.dimensions],
            "Period": int(alarm.period or 60),
            "EvaluationPeriods": int(alarm.evaluation_periods),
            "DatapointsToAlarm": int(alarm.datapoints_to_alarm or alarm.evaluation_periods),
            "ComparisonOperator": alarm.comparison_operator,
            "Threshold": float(alarm.threshold),
            "TreatMissingData": alarm.treat_missing_data or "missing",
            "EvaluateLowSampleCountPercentile": "",
        },
    }
