"""CloudWatch Logs Insights: the part of its query language that the template's saved queries speak, on the real logs.

Syntax: "CloudWatch Logs Insights language query syntax" (CloudWatch Logs user guide), its pages on fields, display,
filter, stats, sort and limit, and "Supported logs and discovered fields" for what a log line's fields are: those of its
first JSON object, with dots for what lies deeper, and what Lambda's own lines START, END and REPORT say. What of the
language is not here (parse, dedup, most functions, ...) is refused by name, never answered wrongly.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from laptop.account import ACCOUNT_ID

Row = dict[str, Any]  # field -> text or number
Expression = Callable[[Row], Any]  # None for a field that the line lacks
MOST_ROWS = 10_000  # what GetQueryResults returns at once (StartQuery, CloudWatch Logs API reference)

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<number>\d+(?:\.\d+)?(?![\w.]))
    | (?P<name>`[^`]+`|[@A-Za-z_][\w@.]*)
    | (?P<duration>\d+(?:ms|mo|s|m|h|d|w))
    | (?P<sign><=|>=|!=|=~|[=<>()\[\],|+*/%-])
    )""",
    re.VERBOSE,
)
_REGEX = re.compile(r"\s*/((?:[^/\\]|\\.)*)/")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LAMBDA_LINE = re.compile(r"(START|END|REPORT) RequestId: (\S+)")
_LAMBDA_NUMBERS = (
    # Field, what the line calls it, and what its unit is worth: milliseconds stay, megabytes become bytes.
    ("@duration", "Duration", 1),
    ("@billedDuration", "Billed Duration", 1),
    ("@memorySize", "Memory Size", 1e6),
    ("@maxMemoryUsed", "Max Memory Used", 1e6),
    ("@initDuration", "Init Duration", 1),
)


class MalformedQuery(ValueError):
    """What is wrong with a query, or what the laptop lacks of the language."""


@dataclass(frozen=True)
class Token:
    kind: str  # text, number, name, duration, sign or regex
    text: str


# ---- lines ----


def row(timestamp_ms: int, message: str, group: str, stream: str) -> Row:
    """The fields of one log event."""
    found: Row = {
        "@timestamp": f"{datetime.fromtimestamp(timestamp_ms / 1000, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3],
        "@message": message,
        "@logStream": stream,
        "@log": f"{ACCOUNT_ID}:{group}",
    }
    if group.startswith("/aws/lambda/") and (line := _LAMBDA_LINE.match(message)):
        found |= {"@type": line[1], "@requestId": line[2]}
        for part in message.split("\t"):
            for field, label, worth in _LAMBDA_NUMBERS:
                if number := re.fullmatch(rf"(?:REPORT .* )?{label}: ([\d.]+) (?:ms|MB)", part.strip()):
                    found[field] = float(number[1]) * worth
    start = message.find("{")
    if start >= 0:
        try:
            document, _ = json.JSONDecoder().raw_decode(message, start)
        except ValueError:
            return found
        found |= dict(_flat("", document))
    return found


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _flat(f"{prefix}.{key}" if prefix else str(key), member)
    elif isinstance(value, bool):
        yield prefix, int(value)
    elif value is not None:
        yield prefix, value


# ---- queries ----


def run(query: str, rows: Iterable[Row], limit: int = MOST_ROWS) -> tuple[list[list[tuple[str, Any]]], int]:
    """What a query answers, as (field, value) pairs, and how many lines matched. Raises MalformedQuery."""
    return Query(query).run(rows, limit)


class Query:
    """One query, read and checked. Raises MalformedQuery."""

    def __init__(self, text: str) -> None:
        if placeholder := re.search(r"\{\{(\w+)\}\}", text):
            raise MalformedQuery(f"Put a value in the place of {placeholder[0]}: only the console asks for it.")
        self._tokens = _tokens(text)
        self._at = 0
        self.fields: list[str] = []  # every field that it names, in their order
        self._steps: list[Callable[[list[Row]], list[Row]]] = []
        self._shown: list[str] | None = None
        self._limit = MOST_ROWS
        self._grouped = False
        while True:
            self._command()
            if self._peek() is None:
                break
            self._expect("|")
        if self._shown is None:
            self._shown = ["@timestamp", "@message"]

    def run(self, rows: Iterable[Row], limit: int = MOST_ROWS) -> tuple[list[list[tuple[str, Any]]], int]:
        found = sorted(rows, key=lambda one: one["@timestamp"], reverse=True)
        matched = len(found)
        for step in self._steps:
            found = step(found)
            if not self._grouped:
                matched = len(found)
        shown = self._shown or []
        return [[(name, one[name]) for name in shown if one.get(name) is not None] for one in found][
            : min(limit, self._limit)
        ], matched

    # commands

    def _command(self) -> None:
        command = self._next("a command").text.lower()
        match command:
            case "fields" | "display":
                self._fields(replace=command == "display")
            case "filter":
                condition = self._or()
                self._steps.append(lambda rows: [one for one in rows if condition(one)])
            case "sort":
                self._sort()
            case "limit":
                self._limit = int(self._number("a number of rows"))
            case "stats":
                self._stats()
            case _:
                raise MalformedQuery(f"The laptop has no command '{command}' of Logs Insights.")

    def _fields(self, *, replace: bool) -> None:
        names: list[str] = []
        for name, expression in self._list():
            names.append(name)
            if name not in self.fields or "(" in name:
                self._steps.append(_set(name, expression))
        self._shown = names if replace or self._shown is None else [*self._shown, *names]

    def _sort(self) -> None:
        keys: list[tuple[Expression, bool]] = []
        while True:
            expression = self._sum()
            descending = self._word("desc")
            if not descending and not self._word("asc"):
                raise MalformedQuery("Say asc or desc after sort: the laptop does not guess which.")
            keys.append((expression, descending))
            if not self._take(","):
                break

        def step(rows: list[Row]) -> list[Row]:
            for expression, descending in reversed(keys):
                rows = sorted(rows, key=lambda one: _order(expression(one)), reverse=descending)
            return rows

        self._steps.append(step)

    def _stats(self) -> None:
        wanted = list(self._list(aggregate=True))
        groups = list(self._list()) if self._word("by") else []
        self._grouped = True

        def step(rows: list[Row]) -> list[Row]:
            parts: dict[tuple[Any, ...], list[Row]] = {}
            for one in rows:
                parts.setdefault(tuple(expression(one) for _, expression in groups), []).append(one)
            if not groups:
                parts.setdefault((), [])
            return [
                {
                    **{name: value for (name, _), value in zip(groups, key, strict=True)},
                    **{name: aggregate(part) for name, aggregate in wanted},
                }
                for key, part in parts.items()
            ]

        self._steps.append(step)
        self._shown = [name for name, _ in [*groups, *wanted]]

    def _list(self, *, aggregate: bool = False) -> Iterator[tuple[str, Any]]:
        """Expressions with their names: what follows "as", or how they are written."""
        while True:
            begin = self._at
            expression: Any = self._aggregate() if aggregate else self._sum()
            written = _written(self._tokens[begin : self._at])
            name = self._next("a name").text if self._word("as") else written
            yield name, expression
            if not self._take(","):
                return

    def _aggregate(self) -> Callable[[list[Row]], Any]:
        function = self._next("an aggregate function").text.lower()
        self._expect("(")
        if function == "count" and (self._take("*") or self._is(")")):
            self._expect(")")
            return len
        expression = self._sum()
        percent = self._number("a percentage") if function == "pct" and self._take(",") else 0.0
        self._expect(")")

        def values(rows: list[Row]) -> list[Any]:
            return [value for one in rows if (value := expression(one)) is not None]

        def numbers(rows: list[Row]) -> list[float]:
            return [number for value in values(rows) if (number := _number(value)) is not None]

        match function:
            case "count":
                return lambda rows: len(values(rows))
            case "count_distinct":
                return lambda rows: len(set(values(rows)))
            case "sum":
                return lambda rows: sum(numbers(rows))
            case "avg":
                return lambda rows: sum(found) / len(found) if (found := numbers(rows)) else None
            case "min":
                return lambda rows: min(numbers(rows), default=None)
            case "max":
                return lambda rows: max(numbers(rows), default=None)
            case "pct":
                return lambda rows: _percentile(numbers(rows), percent)
            case "latest":
                return lambda rows: next(iter(values(_by_time(rows)[::-1])), None)
            case "earliest":
                return lambda rows: next(iter(values(_by_time(rows))), None)
            case _:
                raise MalformedQuery(f"The laptop has no aggregate function '{function}' of Logs Insights.")

    # expressions

    def _or(self) -> Expression:
        found = self._and()
        while self._word("or"):
            found = _both(found, self._and(), lambda left, right: left or right)
        return found

    def _and(self) -> Expression:
        found = self._not()
        while self._word("and"):
            found = _both(found, self._not(), lambda left, right: left and right)
        return found

    def _not(self) -> Expression:
        if self._word("not"):
            inside = self._not()
            return lambda one: not inside(one)
        return self._comparison()

    def _comparison(self) -> Expression:
        left = self._sum()
        negated = self._word("not")
        if self._word("like") or self._take("=~"):
            return _like(left, self._next("what it is like"), negated=negated)
        if self._word("in"):
            self._expect("[")
            members: list[Expression] = [self._sum()]
            while self._take(","):
                members.append(self._sum())
            self._expect("]")
            return lambda one: (left(one) is not None) and negated != any(_equal(left(one), m(one)) for m in members)
        if negated:
            raise MalformedQuery("'not' stands before like and in, or before a whole condition.")
        for sign, compare in _COMPARISONS.items():
            if self._take(sign):
                return _compared(left, self._sum(), compare)
        return left

    def _sum(self) -> Expression:
        found = self._product()
        while self._is("+") or self._is("-"):
            found = _arithmetic(found, self._next("a sign").text, self._product())
        return found

    def _product(self) -> Expression:
        found = self._value()
        while self._is("*") or self._is("/"):
            found = _arithmetic(found, self._next("a sign").text, self._value())
        return found

    def _value(self) -> Expression:
        token = self._next("a value")
        if token.text == "(" and token.kind == "sign":
            inside = self._or()
            self._expect(")")
            return inside
        if token.kind in ("text", "number"):
            constant: Any = token.text if token.kind == "text" else float(token.text)
            return lambda _: constant
        if token.kind != "name":
            raise MalformedQuery(f"A field or a value was expected, not '{token.text}'.")
        if self._take("("):
            return self._function(token.text.lower())
        name = token.text
        self.fields.append(name)
        return lambda one: one.get(name)

    def _function(self, function: str) -> Expression:
        if function == "bin":
            length = self._next("a length of time")
            number, unit = re.fullmatch(r"(\d+)(\D+)", length.text).groups() if length.kind == "duration" else ("", "")  # type: ignore[union-attr]
            self._expect(")")
            if unit not in _SECONDS:
                raise MalformedQuery("bin() wants a length of time such as 5m or 1h.")
            return lambda one: _binned(one["@timestamp"], int(number) * _SECONDS[unit])
        inside = self._sum()
        self._expect(")")
        match function:
            case "ispresent":
                return lambda one: inside(one) is not None
            case "strlen":
                return lambda one: None if inside(one) is None else len(str(inside(one)))
            case _:
                raise MalformedQuery(f"The laptop has no function '{function}' of Logs Insights.")

    # tokens

    def _peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _next(self, wanted: str) -> Token:
        token = self._peek()
        if token is None:
            raise MalformedQuery(f"The query ends where {wanted} was expected.")
        self._at += 1
        return token

    def _is(self, sign: str) -> bool:
        token = self._peek()
        return token is not None and token.kind == "sign" and token.text == sign

    def _take(self, sign: str) -> bool:
        taken = self._is(sign)
        self._at += taken
        return taken

    def _word(self, word: str) -> bool:
        token = self._peek()
        taken = token is not None and token.kind == "name" and token.text.lower() == word
        self._at += taken
        return taken

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            token = self._peek()
            raise MalformedQuery(f"'{sign}' was expected, not {repr(token.text) if token else 'the end'}.")

    def _number(self, wanted: str) -> float:
        token = self._next(wanted)
        if token.kind != "number":
            raise MalformedQuery(f"{wanted.capitalize()} was expected, not '{token.text}'.")
        return float(token.text)


def _tokens(text: str) -> list[Token]:
    found: list[Token] = []
    at = 0
    while text[at:].strip():
        # A slash begins a regular expression only where one may stand; elsewhere it divides.
        after_like = found and (found[-1].text.lower() == "like" or found[-1].text == "=~")
        if after_like and (regex := _REGEX.match(text, at)):
            found.append(Token("regex", regex[1]))
            at = regex.end()
            continue
        match = _TOKEN.match(text, at)
        if match is None or match.lastgroup is None:
            raise MalformedQuery(f"The laptop can't read the query from {text[at:].strip()[:40]!r} on.")
        value = match[match.lastgroup]
        if match.lastgroup == "text":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        found.append(Token(match.lastgroup, value.strip("`") if match.lastgroup == "name" else value))
        at = match.end()
    if not found:
        raise MalformedQuery("The query is empty.")
    return found


def _written(tokens: Iterable[Token]) -> str:
    return "".join(", " if one.text == "," else one.text for one in tokens)


def _set(name: str, expression: Expression) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [one if name in one else {**one, name: expression(one)} for one in rows]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _equal(left: Any, right: Any) -> bool:
    numbers = _number(left), _number(right)
    return numbers[0] == numbers[1] if None not in numbers else str(left) == str(right)


def _order(value: Any) -> tuple[int, float, str]:
    """Missing values first, then numbers, then texts."""
    if value is None:
        return 0, 0.0, ""
    number = _number(value)
    return (2, 0.0, str(value)) if number is None else (1, number, "")


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "!=": lambda left, right: not _equal(left, right),
    "<=": lambda left, right: _order(left) <= _order(right),
    ">=": lambda left, right: _order(left) >= _order(right),
    "=": _equal,
    "<": lambda left, right: _order(left) < _order(right),
    ">": lambda left, right: _order(left) > _order(right),
}


def _compared(left: Expression, right: Expression, compare: Callable[[Any, Any], bool]) -> Expression:
    """False where either is missing: what CloudWatch makes of a field that a line lacks is not to be relied on."""
    return lambda one: left(one) is not None and right(one) is not None and compare(left(one), right(one))


def _both(left: Expression, right: Expression, join: Callable[[bool, bool], bool]) -> Expression:
    return lambda one: join(bool(left(one)), bool(right(one)))


def _like(left: Expression, pattern: Token, *, negated: bool) -> Expression:
    if pattern.kind not in ("text", "regex"):
        raise MalformedQuery("like wants a text in quotes or a /regular expression/.")
    try:
        found = re.compile(re.escape(pattern.text) if pattern.kind == "text" else pattern.text)
    except re.error as error:
        raise MalformedQuery(f"/{pattern.text}/ is no regular expression: {error}") from error
    return lambda one: left(one) is not None and (found.search(str(left(one))) is None) == negated


def _arithmetic(left: Expression, sign: str, right: Expression) -> Expression:
    def value(one: Row) -> float | None:
        numbers = _number(left(one)), _number(right(one))
        if numbers[0] is None or numbers[1] is None or (sign == "/" and not numbers[1]):
            return None
        match sign:
            case "+":
                return numbers[0] + numbers[1]
            case "-":
                return numbers[0] - numbers[1]
            case "*":
                return numbers[0] * numbers[1]
            case _:
                return numbers[0] / numbers[1]

    return value


def _by_time(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda one: one["@timestamp"])


def _percentile(numbers: list[float], percent: float) -> float | None:
    if not numbers:
        return None
    return sorted(numbers)[max(0, math.ceil(percent / 100 * len(numbers)) - 1)]


def _binned(timestamp: str, seconds: float) -> str:
    moment = datetime.fromisoformat(timestamp).replace(tzinfo=UTC).timestamp()
    return f"{datetime.fromtimestamp(moment // seconds * seconds, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
