"""What containers print, on its way to CloudWatch Logs."""

from __future__ import annotations

import sys
import threading
from collections import deque
from typing import Any

from laptop.account import Account

_PAUSE_SECONDS = 0.3
_KEPT_LINES = 10_000  # that are not written yet


class HostingLogs:
    """Takes lines from any thread and writes them, a batch at a time, with a thread of its own."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._lines: deque[tuple[str, str, int, str]] = deque(maxlen=_KEPT_LINES)
        self._streams: set[tuple[str, str]] = set()
        self._closed = threading.Event()
        threading.Thread(target=self._ship, daemon=True, name="hosting-logs").start()

    def endpoint(self, endpoint: str, stream: str, line: str) -> None:
        """To /aws/sagemaker/Endpoints/<endpoint>; an instance's stream is <variant>/<instance>."""
        self.write(f"/aws/sagemaker/Endpoints/{endpoint}", stream, line)

    def write(self, group: str, stream: str, line: str) -> None:
        self._lines.append((group, stream, self._account.clock.now_ms(), line))

    def close(self) -> None:
        self._closed.set()

    def _ship(self) -> None:
        while not self._closed.wait(_PAUSE_SECONDS):
            batches: dict[tuple[str, str], list[dict[str, Any]]] = {}
            while self._lines:
                group, stream, at, line = self._lines.popleft()
                batches.setdefault((group, stream), []).append({"timestamp": at, "message": line or " "})
            for (group, stream), lines in batches.items():
                try:
                    self._put(group, stream, lines)
                except Exception as error:  # the log service going first at shutdown must not end this thread
                    print(f"could not write {group}: {error}", file=sys.stderr)

    def _put(self, group: str, stream: str, lines: list[dict[str, Any]]) -> None:
        logs = self._account.client("logs")
        if (group, stream) not in self._streams:
            for create, names in (
                (logs.create_log_group, {"logGroupName": group}),
                (logs.create_log_stream, {"logGroupName": group, "logStreamName": stream}),
            ):
                try:
                    create(**names)
                except logs.exceptions.ResourceAlreadyExistsException:
                    continue
            self._streams.add((group, stream))
        logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=lines)
