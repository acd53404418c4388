"""What the schedules call, and when it was called last: a part of Aws (aws.py)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mlplatform.aws_calls import Calls
from mlplatform.errors import AwsError
from mlplatform.facts import Ticking
from mlplatform.ticks import EVERY

# Two days at five minutes are 576 datapoints, of the 1,440 that an answer may have ("GetMetricStatistics", CloudWatch
# API reference). Its requests are among the million a month that cost nothing; GetMetricData's are not.
_LOOK_BACK = timedelta(days=2)
_PERIOD_SECONDS = 300


class TickCalls(Calls):
    """Mixed into Aws."""

    def ticking(self, now: datetime) -> tuple[Ticking, ...]:
        """Every function that a schedule calls but watch-spend, which asks. Raises AwsError."""
        return tuple(self._ticking(function, now) for function in EVERY)

    def _ticking(self, function: str, now: datetime) -> Ticking:
        name = f"{self._settings.stack_name}-{function}"
        try:
            schedule = self._call("scheduler", "get_schedule", Name=name)
        except AwsError as error:
            if error.code != "ResourceNotFoundException":
                raise
            return Ticking(function)
        points = self._call(
            "cloudwatch",
            "get_metric_statistics",
            Namespace="AWS/Lambda",
            MetricName="Invocations",
            Dimensions=[{"Name": "FunctionName", "Value": name}],
            StartTime=now - _LOOK_BACK,
            EndTime=now,
            Period=_PERIOD_SECONDS,
            Statistics=["Sum"],
        )["Datapoints"]
        runs = [point["Timestamp"].astimezone(UTC) for point in points if point["Sum"]]
        changed = schedule["LastModificationDate"].astimezone(UTC)
        return Ticking(function, schedule["State"], changed, max(runs, default=None))
