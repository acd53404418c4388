"""A job's output on its way to CloudWatch: the log stream, and the metrics that are found in it."""

from __future__ import annotations

import contextlib
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from laptop.account import Account

SHIP_SECONDS = 0.25  # between two deliveries of log lines and metrics


class Monitor:
    """Takes a job's log lines to CloudWatch Logs, and the metrics that it finds in them to CloudWatch.

    One log stream per machine, `<job>/<host>-<epoch milliseconds>`, written with the execution role's rights; a role
    that may not write logs or metrics gets none, and the job goes on, as on AWS.
    """

    def __init__(
        self,
        account: Account,
        job_name: str,
        role: str,
        log_group: str,
        definitions: Iterable[Mapping[str, str]] = (),
        on_metric: Callable[[str, float, datetime], None] = lambda _name, _value, _moment: None,
        host: str = "algo-1",
    ) -> None:
        """`definitions` are the MetricDefinitions of a training job; `on_metric` hears of every value at once."""
        self._host = host
        self._account = account
        self._name = job_name
        self._role = role
        self._log_group = log_group
        self._definitions = [(definition["Name"], re.compile(definition["Regex"])) for definition in definitions]
        self._on_metric = on_metric
        self._items: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Starts a stream, for a machine that starts."""
        self.close()
        self._thread = threading.Thread(target=self._ship, name=f"log-{self._name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns when everything has been delivered."""
        if self._thread is not None:
            self._items.put(None)
            self._thread.join(timeout=10)
            self._thread = None

    def line(self, text: str) -> None:
        """One line of the container's output."""
        if not text:
            return  # CloudWatch Logs refuses empty messages
        now = self._account.clock.now()
        self._items.put(("log", {"timestamp": int(now.timestamp() * 1000), "message": text}))
        for name, pattern in self._definitions:
            for match in pattern.finditer(text):
                try:
                    value = float(match[1])
                except (ValueError, IndexError):
                    continue  # SageMaker skips what is no number
                if not math.isfinite(value):
                    continue
                self._on_metric(name, value, now)
                datum = {
                    "MetricName": name,
                    "Dimensions": [{"Name": "TrainingJobName", "Value": self._name}],
                    "Timestamp": now,
                    "Value": value,
                }
                self._items.put(("metric", datum))

    def _ship(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        stream = f"{self._name}/{self._host}-{int(self._account.clock.now().timestamp() * 1000)}"
        try:
            logs = self._account.client("logs", self._role)
            self._open_stream(logs, stream)
        except (ClientError, BotoCoreError) as error:
            self._give_up("log", error)
            logs = None
        cloudwatch = None
        ended = False
        while not ended:
            batch: dict[str, list[dict[str, Any]]] = {"log": [], "metric": []}
            until = time.monotonic() + SHIP_SECONDS
            while len(batch["log"]) < 1000 and len(batch["metric"]) < 500:  # limits of one call: 10,000 and 1,000
                try:
                    item = self._items.get(timeout=max(0.0, until - time.monotonic()))
                except queue.Empty:
                    break
                if item is None:
                    ended = True
                    break
                batch[item[0]].append(item[1])
            if batch["log"] and logs is not None:
                try:
                    logs.put_log_events(logGroupName=self._log_group, logStreamName=stream, logEvents=batch["log"])
                except (ClientError, BotoCoreError) as error:
                    self._give_up("log", error)
                    logs = None
            if batch["metric"]:
                try:
                    cloudwatch = cloudwatch or self._account.client("cloudwatch", self._role)
                    # Training jobs' metrics have a namespace of the log group's name.
                    cloudwatch.put_metric_data(Namespace=self._log_group, MetricData=batch["metric"])
                except (ClientError, BotoCoreError) as error:
                    self._give_up("metrics", error)

    def _open_stream(self, logs: Any, stream: str) -> None:
        """Creates the stream, and the group before it where there is none: most jobs find it."""
        try:
            logs.create_log_stream(logGroupName=self._log_group, logStreamName=stream)
        except logs.exceptions.ResourceNotFoundException:
            with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):  # another job was faster
                logs.create_log_group(logGroupName=self._log_group)
            logs.create_log_stream(logGroupName=self._log_group, logStreamName=stream)

    def _give_up(self, what: str, error: Exception) -> None:
        self._account.journal.record("job", job=self._name, message=f"The job's {what} can't be written: {error}")
