"""The frozen dataclasses of facts and decisions are those of the standard library, made in less time."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mlplatform import records


def point(decorator: Any) -> Any:
    class Point:
        x: int
        y: int = 2
        tags: dict[str, str] = dataclasses.field(default_factory=dict)

    return decorator(frozen=True)(Point)


def outcome(action: Any) -> Any:
    try:
        return action()
    except Exception as error:
        return type(error)


def matched(value: Any, kind: Any) -> Any:
    match value:
        case kind(x, y=3):
            return x
    return None


@pytest.mark.parametrize(
    "action",
    [
        lambda kind: dataclasses.asdict(kind(1, tags={"a": "b"})),
        lambda kind: dataclasses.replace(kind(1), y=5).y,
        lambda kind: [field.name for field in dataclasses.fields(kind)],
        lambda kind: (kind(1) == kind(1, 2), kind(1) == kind(2), kind(1) == 1, kind(1) != kind(1)),
        lambda kind: hash(kind(1, 2, ())) == hash(kind(x=1, y=2, tags=())),
        lambda kind: hash(kind(1)),  # has a dictionary in it
        lambda kind: kind(1).tags is kind(1).tags,
        lambda kind: kind(),
        lambda kind: kind(1, 2, {}, 4),
        lambda kind: kind(1, x=1),
        lambda kind: kind(1, z=1),
        lambda kind: setattr(kind(1), "x", 2),
        lambda kind: setattr(kind(1), "new", 2),
        lambda kind: delattr(kind(1), "x"),
        lambda kind: repr(kind(1)).rpartition(".")[2],
        lambda kind: matched(kind(1, 3), kind),
        lambda kind: matched(kind(1, 4), kind),
    ],
)
def test_they_do_what_the_standard_librarys_do(action: Any) -> None:
    theirs, ours = point(dataclasses.dataclass), point(records.dataclass)
    assert outcome(lambda: action(ours)) == outcome(lambda: action(theirs))


def test_they_are_frozen_and_say_so_where_somebody_wants_another_kind() -> None:
    with pytest.raises(ValueError, match="frozen"):
        records.dataclass(frozen=False)
