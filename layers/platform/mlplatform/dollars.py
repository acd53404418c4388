"""How amounts of money are written for people."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

CENT = Decimal("0.01")
NOTHING = Decimal(0)


def money(amount: Decimal, currency: str = "USD", places: int = 2) -> str:
    """To the cent: $1,234.50, -$0.40; 12.00 CNY where it is not dollars. A price of little may have more `places`."""
    rounded = amount.quantize(CENT.scaleb(2 - places), ROUND_HALF_UP) + NOTHING
    sign, digits = "-" if rounded < 0 else "", f"{abs(rounded):,.{places}f}"
    return f"{sign}${digits}" if currency == "USD" else f"{sign}{digits} {currency}"


def precise(amount: Decimal) -> str:
    """Dollars that may be far less than a cent: two digits that count, at least."""
    if not amount or abs(amount) >= Decimal("0.1"):
        return money(amount)
    places = min(-amount.adjusted() + 1, 8)
    return f"{'-' if amount < 0 else ''}${abs(amount):.{places}f}"
