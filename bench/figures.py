"""One measured figure, how it is shown and how it is kept."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """`goal` is a text such as `<= 8`; a figure without one only informs."""

    name: str
    value: float
    unit: str
    goal: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return self.value <= float(bound) if sign == "<=" else self.value >= float(bound)


def show(title: str, figures: list[Figure]) -> None:
    """A table on the terminal, and `bench/results/<title>.json` beside it."""
    table = Table(title=title, title_justify="left", box=None)
    for column in ("figure", "value", "unit", "goal", "", "note"):
        table.add_column(column, justify="right" if column == "value" else "left", overflow="fold")
    for figure in figures:
        met = {True: "met", False: "[red]missed[/red]", None: ""}[figure.met]
        table.add_row(figure.name, f"{figure.value:,.4g}", figure.unit, figure.goal, met, figure.note)
    Console(soft_wrap=False).print(table)
    RESULTS.mkdir(exist_ok=True)
    record = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "figures": [{**asdict(figure), "met": figure.met} for figure in figures],
    }
    (RESULTS / f"{title.replace(' ', '_')}.json").write_text(json.dumps(record, indent=1))
