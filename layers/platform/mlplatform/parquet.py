"""What a Parquet file says about itself: names and types of its columns, and how many different values the label has.

Only the footer and one page header are read, which are plain Thrift in its compact protocol; no column is unpacked.
Source: parquet.thrift and the README of apache/parquet-format, and "Thrift Compact protocol encoding" of apache/thrift.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from mlplatform.errors import DataRejected
from mlplatform.records import dataclass

MAGIC = b"PAR1"
PARQUET_TAIL_BYTES = 2**20  # the footer of a table with some thousand columns
_DEEPEST = 16
_PAGE_HEADER_BYTES = 256  # more than a page header has: one that begins later in the first part may be cut


class Physical(IntEnum):
    """Parquet's physical types."""

    BOOLEAN = 0
    INT32 = 1
    INT64 = 2
    INT96 = 3
    FLOAT = 4
    DOUBLE = 5
    BYTE_ARRAY = 6
    FIXED_LEN_BYTE_ARRAY = 7


@dataclass(frozen=True)
class Footer:
    """A flat Parquet table."""

    columns: tuple[str, ...]
    types: tuple[Physical, ...]
    rows: int
    group_rows: int  # in the largest row group
    distinct: tuple[int | None, ...]  # in the seen row group with the largest dictionary; None if there is none
    missing: tuple[int, ...]  # by the statistics, where the writer kept them


def is_parquet(content: bytes) -> bool:
    """A column may well be called PAR1; the byte behind the magic is the first field of a Thrift structure."""
    return content.startswith(MAGIC + b"\x15")


def read_footer(name: str, head: bytes, tail: bytes, size_bytes: int) -> Footer:
    """From the beginning and the end of a file, which may be the whole of it twice.

    Raises DataRejected if the file is cut, damaged or nested.
    """
    if size_bytes < 12 or not tail.endswith(MAGIC):
        raise DataRejected(f"{name} is a Parquet file without its end, so it was not written whole; drop it again.")
    length = int.from_bytes(tail[-8:-4], "little")
    if len(tail) - 8 < length < size_bytes - 12:
        raise DataRejected(
            f"{name} describes its columns in {length:,} bytes, of which only {len(tail):,} are looked at; drop the "
            f"table as .csv.gz."
        )
    try:
        if length > size_bytes - 12:
            raise IndexError
        return _footer(name, _Thrift(tail, len(tail) - 8 - length).struct(), _Seen(head, tail, size_bytes))
    except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataRejected(f"{name} is a damaged Parquet file; write and drop it again.") from error


@dataclass(frozen=True)
class _Seen:
    """The two parts of a file that are known."""

    head: bytes
    tail: bytes
    size_bytes: int

    def at(self, offset: int) -> _Thrift | None:
        """A reader at that offset of the file; None if it is between the parts."""
        if 0 <= offset < len(self.head) - _PAGE_HEADER_BYTES or len(self.head) == self.size_bytes:
            return _Thrift(self.head, offset)
        from_tail = offset - (self.size_bytes - len(self.tail))
        return _Thrift(self.tail, from_tail) if from_tail >= 0 else None


def _footer(name: str, meta: dict[int, Any], seen: _Seen) -> Footer:
    root, *elements = meta[2]
    if any(element.get(5) for element in elements) or root[5] != len(elements):
        raise DataRejected(f"{name} has nested columns; flatten them, because a table has one value a cell.")
    groups = [[chunk[3] for chunk in group[1]] for group in meta.get(4, ())]
    by_column = [[group[position] for group in groups] for position in range(len(elements))]
    return Footer(
        columns=tuple(element[4].decode() for element in elements),
        types=tuple(Physical(element[1]) for element in elements),
        rows=int(meta[3]),
        group_rows=max((int(group[3]) for group in meta.get(4, ())), default=0),
        distinct=tuple(_distinct(chunks, seen) for chunks in by_column),
        missing=tuple(sum(chunk.get(12, {}).get(3, 0) for chunk in chunks) for chunks in by_column),
    )


def _distinct(chunks: list[dict[int, Any]], seen: _Seen) -> int | None:
    counts = []
    for chunk in chunks:
        if 11 not in chunk:  # dictionary_page_offset
            return None
        page = seen.at(chunk[11])
        if page is not None:
            counts.append(page.struct()[7][1])  # dictionary_page_header.num_values
    return max(counts, default=None)


class _Thrift:
    """A reader of the compact protocol: structures as dictionaries by field number."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content = content
        self.position = position

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            kind, step = head & 15, head >> 4
            number = number + step if step else self._zigzag()
            fields[number] = (kind == 1) if kind in (1, 2) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:  # a boolean inside a list has a byte of its own
                return self._byte() == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._zigzag()
            case 7:
                return self._bytes(8)
            case 8:
                return self._bytes(self._varint())
            case 9 | 10:
                head = self._byte()
                size = head >> 4
                size = self._varint() if size == 15 else size
                if size > len(self.content):
                    raise ValueError("a list longer than the file")
                return [self._value(head & 15, depth + 1) for _ in range(size)]
            case 12:
                return self.struct(depth + 1)
        raise ValueError(f"unknown type {kind}")  # maps do not occur in Parquet

    def _byte(self) -> int:
        self.position += 1
        return self.content[self.position - 1]

    def _bytes(self, length: int) -> bytes:
        self.position += length
        if self.position > len(self.content):
            raise IndexError
        return self.content[self.position - length : self.position]

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift > 63:
                raise ValueError("a number too long")

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)
