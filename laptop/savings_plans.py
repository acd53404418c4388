"""Savings plans: this account has bought none. Source: DescribeSavingsPlans, Savings Plans API reference."""

from __future__ import annotations

from laptop.account import Account


def install(account: Account) -> None:
    """Registers DescribeSavingsPlans."""
    account.operations.setdefault("savingsplans", {})["DescribeSavingsPlans"] = lambda _: {"savingsPlans": []}
