"""The account's time. Everything on the laptop that has to do with time asks here and nowhere else."""

from __future__ import annotations

from datetime import UTC, datetime


class Clock:
    """Runs with the machine's own clock."""

    def now(self) -> datetime:
        """The account's time, aware, in UTC."""
        return datetime.now(UTC)
