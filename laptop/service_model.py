"""Holds a request against the service model, as AWS does before it looks at anything else.

The models are those that botocore ships (`botocore/data/<service>/<version>/service-2.json`): required members, types,
lengths and ranges, patterns and enumerations. The wording follows the services' own `ValidationException` messages.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import botocore.session
import orjson
from botocore.loaders import JSONFileLoader, Loader
from botocore.model import Shape

_INTEGERS = {"integer", "long", "short", "byte", "bigInteger"}
_NUMBERS = {"float", "double", "bigDecimal"}


class _ModelFiles(JSONFileLoader):  # type: ignore[misc]
    """As botocore reads them, but four times as fast: its own way takes a tenth of the laptop's start."""

    def _load_file(self, full_path: str, open_method: Callable[..., Any]) -> Any:
        try:
            with open_method(full_path, "rb") as file:
                return orjson.loads(file.read())
        except FileNotFoundError:
            return None


Loader.FILE_LOADER_CLASS = _ModelFiles
# Moto asks a dozen new sessions for the regions, each of which would look through the folders of all services.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)


@functools.cache
def model(service: str) -> Any:
    """The service's model by botocore's name of it. Raises botocore's UnknownServiceError."""
    from moto.core.utils import get_service_model

    return get_service_model(service)


def validate(service: str, operation: str, params: Mapping[str, Any]) -> list[str]:
    """What AWS would find wrong with a request, in its words; an empty list if nothing.

    `params` are spelled as in boto3: Python values, member names as in the model. Unknown members count as wrong too.
    """
    shape = model(service).operation_model(operation).input_shape
    if shape is None:
        return [f"Unknown parameter '{name}'" for name in params]
    return list(_structure(shape, params, ""))


def summary(errors: list[str]) -> str:
    """The message of the ValidationException that carries these errors."""
    count = len(errors)
    return f"{count} validation error{'s' if count != 1 else ''} detected: {'; '.join(errors)}"


@functools.cache
def _compiled(pattern: str) -> Callable[[str], object] | None:
    """A whole-string matcher for a pattern in Java's syntax, as AWS's models have it; None if it can't be compiled."""
    # Java's strings are UTF-16: it reads these four units as the range of all characters beyond them.
    pattern = pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    # Java's $ and \\Z match before a final line break as Python's do, but a whole-string match takes care of it.
    if r"\p{" not in pattern and "&&" not in pattern:
        try:
            return re.compile(pattern).fullmatch
        except re.error:
            pass
    import regex  # type: ignore[import-untyped]  # it knows \p{...} and class intersections, but starts slower

    try:
        matcher: Callable[[str], object] = regex.compile(pattern, regex.VERSION1).fullmatch
    except regex.error:
        return None
    return matcher


def _check(shape: Shape, value: Any, path: str) -> Iterator[str]:
    kind = shape.type_name
    if kind == "structure":
        if shape.is_document_type:
            return
        if isinstance(value, Mapping):
            yield from _structure(shape, value, path)
        else:
            yield _wrong_type(value, path, "a structure")
    elif kind == "list":
        if not isinstance(value, list | tuple):
            yield _wrong_type(value, path, "a list")
            return
        yield from _range(shape, len(value), value, path, "length")
        for position, member in enumerate(value, 1):
            yield from _check(shape.member, member, f"{path}.{position}.member")
    elif kind == "map":
        if not isinstance(value, Mapping):
            yield _wrong_type(value, path, "a map")
            return
        yield from _range(shape, len(value), value, path, "length")
        for key, member in value.items():
            problems = list(_check(shape.key, key, path))
            if problems:
                inner = "; ".join(problem.partition("constraint: ")[2] for problem in problems)
                yield (
                    f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: "
                    f"Map keys must satisfy constraint: [{inner}]"
                )
            yield from _check(shape.value, member, f"{path}.{key}.member")
    elif kind in _INTEGERS:
        if isinstance(value, bool) or not isinstance(value, int):
            yield _wrong_type(value, path, "a whole number")
        else:
            yield from _range(shape, value, value, path, "value")
    elif kind in _NUMBERS:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            yield _wrong_type(value, path, "a number")
        else:
            yield from _range(shape, value, value, path, "value")
    elif kind == "boolean":
        if not isinstance(value, bool):
            yield _wrong_type(value, path, "true or false")
    elif kind == "string":
        if shape.serialization.get("jsonvalue"):
            return
        if isinstance(value, str):
            yield from _string(shape, value, path)
        else:
            yield _wrong_type(value, path, "a string")
    elif kind == "timestamp":
        if not isinstance(value, datetime | str | int | float):
            yield _wrong_type(value, path, "a timestamp")
    elif kind == "blob" and isinstance(value, bytes | bytearray | str):
        yield from _range(shape, len(value), "...", path, "length")


def _structure(shape: Any, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required_members:
        if value.get(name) is None:
            yield f"Value null at '{_below(path, name)}' failed to satisfy constraint: Member must not be null"
    members = shape.members
    for name, member in value.items():
        if name not in members:
            yield f"Unknown parameter '{_below(path, name)}'"
        elif member is not None:
            yield from _check(members[name], member, _below(path, name))


def _string(shape: Any, value: str, path: str) -> Iterator[str]:
    yield from _range(shape, len(value), value, path, "length")
    if shape.enum and value not in shape.enum:
        yield (
            f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
        )
    pattern = shape.metadata.get("pattern")
    if pattern:
        matches = _compiled(pattern)
        if matches is not None and not matches(value):
            yield (
                f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: "
                f"Member must satisfy regular expression pattern: {pattern}"
            )


def _range(shape: Any, measure: Any, value: Any, path: str, what: str) -> Iterator[str]:
    for bound, words, broken in (
        (shape.metadata.get("min"), "greater", operator.lt),
        (shape.metadata.get("max"), "less", operator.gt),
    ):
        if bound is not None and broken(measure, bound):
            yield (
                f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: "
                f"Member must have {what} {words} than or equal to {bound}"
            )


def _wrong_type(value: Any, path: str, wanted: str) -> str:
    return f"Value '{_shown(value)}' at '{path}' failed to satisfy constraint: Member must be {wanted}"


def _below(path: str, name: str) -> str:
    name = name[:1].lower() + name[1:]
    return f"{path}.{name}" if path else name


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 1024 else text[:1024] + "..."
