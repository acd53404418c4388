"""Frozen dataclasses without generated code, so that functions start sooner.

`dataclass(frozen=True)` writes six methods for each class and compiles them: fifty classes take as long as making a
client for S3. Here the same six are shared, and the classes stay dataclasses (`fields`, `replace`, `asdict`, `match`).
Type checkers are shown the standard library's. What caches a property in itself is better off with that one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: bool) -> Callable[[type], type]:
        """Stands in for `dataclasses.dataclass(frozen=True)`. Raises ValueError for another kind."""
        if not frozen:
            raise ValueError("These dataclasses are frozen.")
        return _record


def _record(cls: type) -> type:
    made: Any = dataclasses.dataclass(init=False, repr=False, eq=False)(cls)
    shown = dataclasses.fields(made)
    names = tuple(field.name for field in shown)
    defaults = {field.name: field.default for field in shown}  # in the order of the fields, which all instances keep
    required = tuple(field.name for field in shown if field.default is field.default_factory is dataclasses.MISSING)
    factories = tuple(
        (field.name, field.default_factory) for field in shown if field.default_factory is not dataclasses.MISSING
    )
    post_init = getattr(made, "__post_init__", None)

    def __init__(self: Any, *positional: Any, **named: Any) -> None:
        state = self.__dict__
        state.update(defaults)
        if positional:
            state.update(zip(names, positional, strict=False))
        state.update(named)
        given = len(positional)
        if len(state) != len(names) or given > len(names) or not named.keys().isdisjoint(names[:given]):
            raise TypeError(f"{cls.__name__} takes {', '.join(names)}, each once.")
        if given + len(named) < len(names):  # something is left to its default
            for name in required[given:]:
                if name not in named:
                    raise TypeError(f"{cls.__name__} lacks {name}.")
            for name, make in factories:
                if state[name] is dataclasses.MISSING:
                    state[name] = make()
        if post_init is not None:
            self.__post_init__()

    made.__init__ = __init__
    for method in (__repr__, __eq__, __hash__, __setattr__, __delattr__):
        setattr(made, method.__name__, method)
    return made  # type: ignore[no-any-return]


def __repr__(self: Any) -> str:
    return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in self.__dict__.items())})"


def __eq__(self: Any, other: object) -> Any:
    return self.__dict__ == other.__dict__ if other.__class__ is self.__class__ else NotImplemented


def __hash__(self: Any) -> int:
    return hash(tuple(self.__dict__.values()))


def __setattr__(self: Any, name: str, _: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def __delattr__(self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
