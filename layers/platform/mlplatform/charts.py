"""Charts as SVG inside a page: two axes with round ticks, and what is drawn between them. Pure, in floats.

Colours are the variables of html_page.STYLE, so that a chart follows the page into the dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from html import escape

from mlplatform.html_page import round_step
from mlplatform.records import dataclass

WIDTH = 480.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 14.0, 12.0, 46.0


@dataclass(frozen=True)
class Axis:
    """What an axis goes over; on a logarithmic one the ticks are powers of ten."""

    low: float
    high: float
    title: str
    shown: Callable[[float], str]
    logarithmic: bool = False
    whole: bool = False  # only whole numbers are ticks

    def share(self, value: float) -> float:
        """Where on the axis a value lies, from 0 to 1; what is beyond an end lies on it."""
        low, high = (math.log10(self.low), math.log10(self.high)) if self.logarithmic else (self.low, self.high)
        if self.logarithmic:
            value = math.log10(max(value, self.low))
        return min(1.0, max(0.0, (value - low) / ((high - low) or 1.0)))

    def ticks(self) -> list[float]:
        """Three to seven round values."""
        if self.logarithmic:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**power for power in powers[:: max(1, math.ceil(len(powers) / 6))]] or [self.low, self.high]
        step = float(round_step(Decimal(repr(self.high - self.low)))) if self.high > self.low else 0.0
        if not step:
            return [self.low]
        if self.whole:
            step = max(1.0, math.ceil(step))
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, first + 8) if n * step <= self.high + step * 1e-9]


@dataclass(frozen=True)
class Plot:
    """One chart of WIDTH units across; `height` is that of what lies between the axes."""

    across: Axis
    up: Axis
    height: float = 260.0

    def x(self, value: float) -> float:
        return _LEFT + self.across.share(value) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _TOP + (1 - self.up.share(value)) * self.height

    def path(self, points: Sequence[tuple[float, float]]) -> str:
        return "M" + " L".join(f"{self.x(px):.1f} {self.y(py):.1f}" for px, py in points)

    def line(self, points: Sequence[tuple[float, float]], colour: str, extra: str = "", width: float = 2) -> str:
        return (
            f'<path d="{self.path(points)}" fill="none" stroke="var({colour})" stroke-width="{width}" '
            f'stroke-linejoin="round" {extra}/>'
        )

    def area(self, points: Sequence[tuple[float, float]], colour: str) -> str:
        """Between the points and the lower axis."""
        base = _TOP + self.height
        return (
            f'<path d="{self.path(points)} L{self.x(points[-1][0]):.1f} {base} L{self.x(points[0][0]):.1f} {base} Z" '
            f'fill="var({colour})" opacity=".12"/>'
        )

    def box(self, left: float, right: float, low: float, high: float, colour: str, opacity: float = 1.0) -> str:
        """A rectangle in the units of the axes."""
        x, y = self.x(left), self.y(high)
        width, height = max(self.x(right) - x, 0.5), max(self.y(low) - y, 0.5)
        return (
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="var({colour})"'
            f' opacity="{opacity:.2f}"/>'
        )

    def svg(self, label: str, content: str) -> str:
        """The whole chart; `label` is for those who can't see it."""
        base, right = _TOP + self.height, WIDTH - _RIGHT
        parts = []
        for value in self.up.ticks():
            y = self.y(value)
            parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(self.up.shown(value))}</text>'
            )
        for value in self.across.ticks():
            x = self.x(value)
            parts.append(
                f'<line class="zero" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>'
                f'<text x="{x:.1f}" y="{base + 18}" text-anchor="middle">{escape(self.across.shown(value))}</text>'
            )
        middle = _TOP + self.height / 2
        return (
            f'<svg viewBox="0 0 {WIDTH:.0f} {base + _BOTTOM:.0f}" role="img" aria-label="{escape(label)}">'
            f"{''.join(parts)}{content}"
            f'<line class="zero" x1="{_LEFT}" x2="{right}" y1="{base}" y2="{base}"/>'
            f'<text class="axis" x="{(_LEFT + right) / 2}" y="{base + 38}" text-anchor="middle">'
            f"{escape(self.across.title)}</text>"
            f'<text class="axis" transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.up.title)}</text></svg>"
        )


def spark(counts: Sequence[float], colour: str = "--c0", full: float = 0) -> str:
    """A histogram as small as a word; a bar of `full`, or else the largest one, has the whole height."""
    most = max([*counts, full])
    if most <= 0 or not counts:
        return ""
    step = 100 / len(counts)
    bars = "".join(
        f'<rect x="{n * step:.2f}" y="{26 - 26 * count / most:.2f}" width="{max(step - 1, step * 0.7):.2f}" '
        f'height="{26 * count / most:.2f}"/>'
        for n, count in enumerate(counts)
        if count > 0
    )
    return (
        f'<svg class="spark" viewBox="0 0 100 26" preserveAspectRatio="none" aria-hidden="true" '
        f'fill="var({colour})">{bars}</svg>'
    )
