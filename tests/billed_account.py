"""An account with a bill and a clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from laptop import bill
from laptop.account import Account, Operation
from laptop.bill import Bill
from laptop.clock import Clock
from laptop.journal import Journal


class HandClock(Clock):
    def __init__(self, at: datetime) -> None:
        super().__init__()
        self.at = at
        self.listening: list[Callable[[datetime, datetime], None]] = []

    def now(self) -> datetime:
        return self.at

    def subscribe(self, listener: Callable[[datetime, datetime], None]) -> None:
        self.listening.append(listener)

    def move(self, *to: int) -> None:
        old, self.at = self.at, datetime(*to, tzinfo=UTC)  # type: ignore[misc,arg-type]
        for listener in self.listening:
            listener(old, self.at)


class BilledAccount(Account):
    """Ways to use it that are short in a test."""

    clock: HandClock

    def put(self, usd: float | str, service: str = "Amazon SageMaker", **more: Any) -> None:
        self.routes["POST /_laptop/bill"]({"usd": usd, "service": service, **more})

    def call(self, service: str, operation: str, **request: Any) -> dict[str, Any]:
        implementation: Operation = self.operations[service][operation]
        return implementation(request)

    def lines(self) -> list[dict[str, Any]]:
        lines: list[dict[str, Any]] = self.routes["GET /_laptop/bill"]({})
        return lines


def billed_account(*at: int) -> BilledAccount:
    clock = HandClock(datetime(*at, tzinfo=UTC))  # type: ignore[misc,arg-type]
    account = BilledAccount(port=0, home=Path(), clock=clock, journal=Journal(clock))
    bill.install(account)
    return account


def bill_of(account: Account) -> Bill:
    assert isinstance(account.bill, Bill)
    return account.bill
