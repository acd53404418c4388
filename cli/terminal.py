"""What a person reads: every command in it has the options by which the person chose the account.

Here and not where the sentences are made, because most come from functions and planners, which know nothing of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console

_LAPTOP = "laptop"  # the group of commands that are about it anyway
_chosen: list[tuple[re.Pattern[str], str]] = []


def choose(options: Sequence[str], commands: Iterable[str]) -> None:
    """Remembers what stands before a command, such as `--laptop`, for the rest of the process."""
    words = "|".join(sorted(set(commands) - {_LAPTOP}))
    instead = f"mlp {' '.join(options)} ".replace("\\", r"\\")
    _chosen[:] = [(re.compile(rf"(?<![\w./-])mlp (?=(?:{words})\b)"), instead)] if options else []


def with_options(text: str) -> str:
    """The text, its commands as the person would have to write them."""
    for command, instead in _chosen:
        text = command.sub(instead, text)
    return text


class Terminal(Console):
    """rich's Console, whose texts are `with_options`."""

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*(with_options(one) if isinstance(one, str) else one for one in objects), **options)
