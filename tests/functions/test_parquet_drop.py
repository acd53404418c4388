"""A Parquet file says what it holds at its end; of a large one, both ends are read and nothing between."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from builders import Account


def test_both_ends_of_a_large_parquet_file_are_read(account: Account) -> None:
    noise = np.random.default_rng(1).random((2, 600_000))
    table = pa.table({"a": noise[0], "b": noise[1], "y": pa.array(noise[0] > 0.5)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none", use_dictionary=False)
    assert buffer.tell() > 9 * 2**20
    account.put("datasets/churn/data.parquet", buffer.getvalue())
    aws = account.app().aws
    [stored] = aws.list_objects("datasets/churn/")
    sample = aws.read_sample(stored)
    assert [read["Range"] for read in account.called("get_object")] == ["bytes=0-8388607", "bytes=-1048576"]
    assert (len(sample.content), len(sample.tail), sample.complete) == (8388608, 1048576, False)
    assert buffer.getvalue().endswith(sample.tail)
