"""`mlp predict` sends what people have as what an endpoint takes."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from cli.connection import CommandError
from cli.predict import MOST_BYTES, request_of


@pytest.mark.parametrize(
    ("name", "content", "sent"),
    [
        ("new.csv", b"age,city\n41,Paris\n", "age,city\n41,Paris\n"),
        ("new.csv", "age;city\n41;M\u00e1laga\n".encode("latin-1"), "age,city\n41,M\u00e1laga\n"),
        ("new.csv", "age\tcity\n41\tParis, France\n".encode("utf-16"), 'age,city\n41,"Paris, France"\n'),
        ("new.txt", b"\xef\xbb\xbfage|city\r\n41|Paris\r\n", "age,city\n41,Paris\n"),
        ("new.csv", b"size;price\n1,5;2,25\n", 'size,price\n"1,5","2,25"\n'),
        ("new.csv.gz", gzip.compress(b"age;city\n41;Paris\n"), "age,city\n41,Paris\n"),
        ("new.csv", b"note\na; b\n", "note\na; b\n"),  # one column
    ],
)
def test_a_table_of_any_dialect_is_sent_as_csv_in_utf8(name: str, content: bytes, sent: str) -> None:
    assert request_of(Path(name), content) == (sent.encode(), "text/csv")


def test_json_is_sent_as_it_is() -> None:
    assert request_of(Path("r.json"), b'{"records": []}') == (b'{"records": []}', "application/json")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("new.csv", b"PK\x03\x04" + b"\0" * 30 + b"xl/workbook", "holds an Excel workbook"),
        ("new.csv", b"a;b\n1;2\n1;2;3\n", "new.csv, line 3 has 3 fields where line 1 has 2 (separated by semicolon)"),
        ("big.csv", b"1,2\n" * (MOST_BYTES // 4 + 1), "a request may hold 6,291,456; split it into 2 files or more."),
        ("big.csv", b"1,2\n" * (3 * MOST_BYTES // 4), "split it into 3 files or more."),
        ("big.csv.gz", gzip.compress(b"1,2\n" * (3 * MOST_BYTES // 4)), "split it into 3 files or more."),
    ],
)
def test_what_no_request_can_hold_is_refused_before_it_is_sent(name: str, content: bytes, says: str) -> None:
    with pytest.raises(CommandError, match=r".") as refused:
        request_of(Path(name), content)
    assert says in str(refused.value)
