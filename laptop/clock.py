"""The account's time. Everything on the laptop that has to do with time asks here and nowhere else.

The clock runs with the machine's own, and can be moved forwards: all that falls due on the way (schedules) is done in
order, each at its own moment, as if the time had really passed. Three things live on the machine's time even so, and
say it where they do: the pace of metrics, alarms and scaling (laptop/metrics.py, a shortened minute), the run times
and limits of jobs and functions, and what a function's process itself sees. A function that is started by a schedule
therefore takes the time from its event.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

# The machine's time that events, functions and endpoints get between two moments of a move.
SETTLE_SECONDS = 30.0

# What was done at a moment: JSON-serialisable, told by POST /_laptop/clock.
Fired = dict[str, Any]


class UnderWay:
    """Counts what the account has begun and not ended yet: deliveries, function calls, endpoints on their way.

    Work that sets other work going does so before it ends itself, so that nothing is left when the count is 0.
    """

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def start_thread(self, name: str, work: Callable[..., Any], *arguments: Any) -> None:
        """One more until a thread of its own has done the work."""

        def run() -> None:
            try:
                work(*arguments)
            finally:
                self._add(-1)

        self._add(1)
        threading.Thread(target=run, daemon=True, name=name).start()

    def submit(self, pool: Executor, work: Callable[..., Any], *arguments: Any) -> None:
        """One more until the pool has done the work or given it up. Raises RuntimeError if the pool is closed."""
        self._add(1)
        try:
            future = pool.submit(work, *arguments)
        except BaseException:
            self._add(-1)
            raise
        future.add_done_callback(lambda _: self._add(-1))

    def wait(self, seconds: float) -> bool:
        """Whether nothing is under way any more, waiting at most so long for it."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, seconds)

    def _add(self, change: int) -> None:
        with self._changed:
            self._count += change
            if self._count == 0:
                self._changed.notify_all()


class Agenda(Protocol):
    """Something with work that falls due, such as EventBridge Scheduler."""

    def next_due(self) -> datetime | None:
        """The earliest moment with work that is not done yet; it may be past. None if there is none."""

    def run(self, due: datetime) -> list[Fired]:
        """Does the work of that moment and returns when it is done; afterwards `next_due` is later."""


class Clock:
    """Aware times in UTC. Safe to use from any thread."""

    def __init__(self, at: datetime | None = None) -> None:
        """Begins now, or at a later moment: nothing falls due before it. Raises ValueError for a moment in the past."""
        self._offset = timedelta() if at is None else at - datetime.now(UTC)
        if self._offset < timedelta():
            raise ValueError(f"The clock only moves forwards: {at} is over.")
        self._moving = threading.RLock()  # held while work is done, so that nothing is done twice or out of order
        self._listeners: list[Callable[[datetime, datetime], None]] = []
        self._agendas: list[Agenda] = []
        self.under_way = UnderWay()

    def now(self) -> datetime:
        """The account's time."""
        return datetime.now(UTC) + self._offset

    def now_ms(self) -> int:
        """The account's time as log events carry it: milliseconds since 1970."""
        return int(self.now().timestamp() * 1000)

    def subscribe(self, listener: Callable[[datetime, datetime], None]) -> None:
        """Calls `listener(old, new)` after every jump; a long move jumps from due moment to due moment.

        Between `old` and `new` nothing in the account changed: what ran, ran for all of that time.
        """
        self._listeners.append(listener)

    def add_agenda(self, agenda: Agenda) -> None:
        """Its work is done when it is due, whether the time passes or the clock is moved."""
        self._agendas.append(agenda)

    def next_due(self) -> datetime | None:
        """The earliest moment with work, of all agendas."""
        return min((due for agenda in self._agendas if (due := agenda.next_due())), default=None)

    def run_due(self) -> list[Fired]:
        """Does what is due by now, in order."""
        with self._moving:
            return self._run_until(self.now())

    def advance_to(self, moment: datetime) -> list[Fired]:
        """Moves the clock there and does everything that falls due on the way, each at its moment, in order.

        Raises ValueError for a moment in the past: time does not run backwards.
        """
        with self._moving:
            if moment < self.now():
                raise ValueError(f"The clock only moves forwards: {moment.isoformat()} is before {self.now()}.")
            fired = self._run_until(moment)
            self._jump(moment)
            return fired

    def advance(self, seconds: float) -> list[Fired]:
        """Like `advance_to`, counted from now. Raises ValueError for a negative number."""
        with self._moving:
            return self.advance_to(self.now() + timedelta(seconds=seconds))

    def _run_until(self, moment: datetime) -> list[Fired]:
        fired: list[Fired] = []
        while (due := self.next_due()) is not None and due <= moment:
            self._jump(due)
            for agenda in self._agendas:
                if agenda.next_due() == due:
                    fired += agenda.run(due)
            # What was set going ends before the next moment comes: an endpoint is up long before 15 minutes pass.
            self.under_way.wait(SETTLE_SECONDS)
        return fired

    def _jump(self, moment: datetime) -> None:
        old = self.now()
        if moment <= old:
            return
        self._offset += moment - old
        for listener in self._listeners:
            try:
                listener(old, moment)
            except Exception:  # who only listens must not stop the time
                traceback.print_exc()
