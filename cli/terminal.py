"""What a person reads: every command in it has the options by which the person chose the account, and no line is wider
than the terminal.

Here and not where the sentences are made, because most come from functions and planners, which know nothing of that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

_LAPTOP = "laptop"  # the group of commands that are about it anyway
_chosen: list[tuple[re.Pattern[str], str]] = []


def choose(options: Sequence[str], commands: Iterable[str], called: str = "mlp") -> None:
    """Remembers for the rest of the process what stands before a command, such as `--laptop`, and how mlp is called."""
    words = "|".join(sorted(set(commands) - {_LAPTOP}))
    mlp, before = r"(?<![\w./-])mlp ", "".join(f"{one} " for one in (called, *options)).replace("\\", r"\\")
    _chosen.clear()
    if options:
        _chosen.append((re.compile(rf"{mlp}(?=(?:{words})\b)"), before))
    if called != "mlp":  # what the first has changed has an option behind it, and is left alone
        _chosen.append((re.compile(rf"{mlp}(?=(?:{words}|{_LAPTOP})\b)"), f"{called} ".replace("\\", r"\\")))


def program(typed: str, found: str | None, port: str | None) -> str:
    """How the person calls mlp: by its bare name where that is `found`, else as `typed`; with the laptop's `port`."""
    own = Path(typed).name == "mlp" and (found is None or not Path(typed).exists() or not Path(found).samefile(typed))
    return f"{f'PORT={port} ' if port else ''}{typed if own else 'mlp'}"


def with_options(text: str) -> str:
    """The text, its commands as the person would have to write them."""
    for command, instead in _chosen:
        text = command.sub(instead, text)
    return text


class Terminal(Console):
    """rich's Console, whose texts are `with_options`, and broken between words where a terminal's line ends.

    What is piped keeps its lines, whatever their length.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(soft_wrap=True, **options)

    def print(self, *objects: Any, hang: int = 0, **options: Any) -> None:
        """`hang`: how many columns a line's continuation is indented by, besides the indentation of the line itself."""
        super().print(
            *(self._fitted(one, hang, options) if isinstance(one, str) else one for one in objects), **options
        )

    def _fitted(self, text: str, hang: int, options: Mapping[str, Any]) -> str | Text:
        text = with_options(text)
        if not self.is_terminal:
            return text
        rendered = self.render_str(text, markup=options.get("markup"), highlight=options.get("highlight"))
        return Text("\n").join(
            part for line in rendered.split("\n", allow_blank=True) for part in broken(line, self.width, hang)
        )


def broken(line: Text, width: int, hang: int = 0) -> list[Text]:
    """The line in parts of at most so many columns, as far as its words allow: none is broken, so that paths and
    addresses can be copied, nor are commands in backticks.

    Continuations are indented like the line, and by `hang` more.
    """
    words = list(re.finditer(r"(?:`[^`]*`|\S)+", line.plain))
    indent = words[0].start() + hang if words else 0
    breaks, begin, room = [], 0, width
    for word in words[1:]:
        if cell_len(line.plain[begin : word.end()]) > room:
            breaks.append(word.start())
            begin, room = word.start(), width - indent
    first, *rest = line.divide(breaks)
    parts = [first, *(Text(" " * indent).append_text(part) for part in rest)]
    for part in parts[:-1]:
        part.rstrip()
    return parts
