"""The event log behind `GET /_laptop/events`: what happened in the account, in order, as people would tell it."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

from laptop.clock import Clock

KEPT = 20_000


class Journal:
    """An append-only list of entries `{"n", "at", "kind", ...}`; safe to use from any thread.

    Kinds in use: `event` (an event was put on the bus), `delivery` (a target got it, or could not), `function`
    (a Lambda invocation ended), `schedule` (a schedule ran, or could not), `job` (a training job changed its
    status), `endpoint` (an endpoint changed its status), `serverless` (a container was started or ended),
    `asynchronous` (a queued request failed), `component` (an inference component changed its status), `scaling` (a
    desired count changed), `alarm`, `budget` (a threshold was told, or could not be), `refused` (an API call was
    refused, and why), `stack`, `failure` (the laptop itself failed at a call).
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: list[dict[str, Any]] = []
        self._next = 1

    def record(self, kind: str, **fields: Any) -> None:
        """Appends one entry; fields must be JSON-serialisable (datetimes are written as ISO text)."""
        shown = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in fields.items()}
        with self._lock:
            self._entries.append({"n": self._next, "at": self._clock.now().isoformat(), "kind": kind, **shown})
            self._next += 1
            del self._entries[:-KEPT]

    def entries(self, after: int = 0) -> list[dict[str, Any]]:
        """The entries with a number greater than `after`, oldest first."""
        with self._lock:
            return [entry for entry in self._entries if entry["n"] > after]
