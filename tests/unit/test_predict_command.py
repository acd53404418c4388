"""`mlp predict` sends what people have as what an endpoint takes, in as many requests as that needs."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from cli import predict
from cli.connection import CommandError
from cli.predict import predictions


class Endpoint:
    """It knows its header, and predicts how long each row is."""

    def __init__(self, as_csv: bool = False) -> None:
        self.asked: list[tuple[bytes, str]] = []
        self.as_csv = as_csv

    def __call__(self, body: bytes, content_type: str) -> str:
        self.asked.append((body, content_type))
        rows = [row for row in csv.reader(io.StringIO(body.decode())) if row != ["size", "city"]]
        if self.as_csv:
            return "".join(f"{len(row[0])}\n" for row in rows)
        return json.dumps(
            {"predictions": [row[0] for row in rows], "probabilities": [[1.0]] * len(rows), "classes": ["a"]}
        )


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
    endpoint = Endpoint()
    predictions(endpoint, Path(name), content, as_csv=False)
    assert endpoint.asked == [(sent.encode(), "text/csv")]


def test_json_is_sent_as_it_is() -> None:
    endpoint = Endpoint()
    predictions(endpoint, Path("r.json"), b'{"records": []}', as_csv=False)
    assert endpoint.asked == [(b'{"records": []}', "application/json")]


@pytest.mark.parametrize("header", [b"size,city\n", b""])
@pytest.mark.parametrize("as_csv", [True, False])
def test_a_table_that_no_request_holds_goes_in_several_each_with_its_header(
    header: bytes, as_csv: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "BATCH_BYTES", 100)
    rows = b"".join(b'%d,"New York, NY"\n' % n for n in range(20))
    endpoint = Endpoint(as_csv)
    answer = predictions(endpoint, Path("new.csv"), header + rows, as_csv=as_csv)
    assert len(endpoint.asked) > 3
    assert all(len(body) <= 100 for body, _ in endpoint.asked)
    assert all(body.startswith(header) for body, _ in endpoint.asked)
    if as_csv:
        assert answer.split() == ["1"] * 10 + ["2"] * 10
    else:
        told = json.loads(answer)
        assert told["predictions"] == [str(n) for n in range(20)]
        assert (len(told["probabilities"]), told["classes"]) == (20, ["a"])


def test_a_large_table_is_read_beyond_its_beginning() -> None:
    content = b"size;city\n" + f"12;M\u00e1laga{'x' * 9_000}\n".encode("latin-1") * 1_000
    endpoint = Endpoint(as_csv=True)
    answer = predictions(endpoint, Path("new.csv.gz"), gzip.compress(content, 1), as_csv=True)
    assert answer.count("\n") == 1_000
    assert len(endpoint.asked) == 9


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("new.csv", b" \n", "new.csv is empty."),
        ("new.csv", b"PK\x03\x04" + b"\0" * 30 + b"xl/workbook", "holds an Excel workbook"),
        ("new.csv", b"a;b\n1;2\n1;2;3\n", "new.csv, line 3 has 3 fields where line 1 has 2 (separated by semicolon)"),
        ("big.json", b"[" + b" " * predict.MOST_BYTES + b"]", "a request may hold 4,194,304; split it into 2 files"),
    ],
)
def test_what_no_endpoint_takes_is_refused_before_it_is_sent(name: str, content: bytes, says: str) -> None:
    endpoint = Endpoint()
    with pytest.raises(CommandError) as refused:
        predictions(endpoint, Path(name), content, as_csv=False)
    assert says in str(refused.value)
    assert endpoint.asked == []
