"""`mlp predict`: asks a dataset's endpoint, in as many requests as a file needs, and explains what it refuses."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError

from cli import hours
from cli.connection import CommandError, Connection
from mlplatform import names
from mlplatform.delimited import DELIMITERS, decode, parse, sniff
from mlplatform.errors import DataRejected
from mlplatform.facts import HostingKind
from mlplatform.kinds import kind_of

_LONGEST_SECONDS = 20 * 60  # an instance takes less to start
# Of one request: BodyBlob of InvokeEndpoint (service model) has 6 MB, serverless 4 ("Inference options", SageMaker
# developer guide).
MOST_BYTES = 4 * 1024**2
BATCH_BYTES = (
    1024**2
)  # of a table that is split anyway: an answer has 60 s (InvokeEndpoint), and 4 MB may take half of it
_CODECS = {"utf-8": "utf-8-sig", "utf-16": "utf-16", "latin-1": "latin-1"}
Ask = Callable[[bytes, str], str]  # body and content type -> answer


def predict(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    file: Annotated[
        Path | None, typer.Argument(help="A .csv or .csv.gz without the label, or a .json; - reads CSV.")
    ] = None,
    json_body: Annotated[str | None, typer.Option("--json", help="The JSON request itself.")] = None,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Answer as CSV: the prediction, then each class's probability.")
    ] = False,
) -> None:
    """Ask a dataset's endpoint.

    Example: `mlp predict churn new.csv`, `mlp predict churn --json '{"records": [{"age": 41}]}'`
    """
    if (file is None) == (json_body is None):
        raise CommandError("Give either a file or --json with the request.")
    ask = functools.partial(_ask, context.obj, dataset, "text/csv" if as_csv else "application/json")
    if json_body is not None:
        answer = ask(json_body.encode(), "application/json")
    elif str(file) == "-":
        answer = predictions(ask, Path("standard input"), sys.stdin.buffer.read(), as_csv=as_csv)
    else:
        assert file is not None
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        answer = predictions(ask, file, file.read_bytes(), as_csv=as_csv)
    sys.stdout.write(answer if as_csv else json.dumps(json.loads(answer), indent=1, ensure_ascii=False) + "\n")


def _ask(connection: Connection, dataset: str, accept: str, body: bytes, content_type: str) -> str:
    return invoke(connection, dataset, body, content_type, accept)


def predictions(ask: Ask, file: Path, content: bytes, *, as_csv: bool) -> str:
    """What an endpoint says of a file: `.json` is sent as it is, the rest as CSV, in as many requests as it needs.

    A table is read as a drop's is: compressed or not, in UTF-8, UTF-16 or Latin-1, separated by commas, semicolons,
    tabs or pipes. Raises CommandError for what is no table, and for JSON of more than a request may hold.
    """
    if not content.strip():
        raise CommandError(f"{file.name} is empty.")
    if file.suffix == ".json":
        if len(content) > MOST_BYTES:
            raise CommandError(
                f"{file.name} has {len(content):,} bytes, and a request may hold {MOST_BYTES:,}; split it into "
                f"{-(-len(content) // MOST_BYTES)} files or more, or send CSV, which is split by itself."
            )
        return ask(content, "application/json")
    table = _as_csv(file, content)
    if len(table) <= BATCH_BYTES:
        return ask(table, "text/csv")
    answers, header = [], b""
    for first, count, body in _batches(table):
        answers.append(ask(header + body, "text/csv"))
        if len(answers) == 1 and _count(answers[0], as_csv) == count - 1:
            header = first  # the first row was none of values, and stands above the other requests too
    return "".join(answers) if as_csv else _joined(answers)


def _as_csv(file: Path, content: bytes) -> bytes:
    try:
        text = decode(file.name, content, complete=True)
        delimiter = sniff(text)
        if text.complete:
            return text.content.encode() if delimiter == "comma" else _written(parse(text, delimiter).rows)
        whole = gzip.decompress(content) if file.suffix == ".gz" else content
        lines = io.StringIO(whole.decode(_CODECS[text.encoding]), newline="")
        return _written(row for row in csv.reader(lines, delimiter=DELIMITERS[delimiter], strict=True) if row)
    except DataRejected as error:
        raise CommandError(str(error)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise CommandError(f"{file.name} can't be read beyond its beginning: {error}. Save it as UTF-8.") from error


def _written(rows: Iterable[Sequence[str]]) -> bytes:
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator="\n").writerows(rows)
    return written.getvalue().encode()


def _batches(table: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    """The table's first row, and in turn the rows and the text of each part, which leaves room for that row."""
    lines = [line.encode() for line in io.StringIO(table.decode(), newline="")]
    reader = csv.reader(line.decode() for line in lines)
    first, start, end, rows, size = b"", 0, 0, 0, 0
    for cells in reader:
        row = b"".join(lines[end : reader.line_num])
        first = first or row
        if rows and size + len(row) + len(first) > BATCH_BYTES:
            yield first, rows, b"".join(lines[start:end])
            start, rows, size = end, 0, 0
        end, rows, size = reader.line_num, rows + bool(cells), size + len(row)
    yield first, rows, b"".join(lines[start:])


def _count(answer: str, as_csv: bool) -> int:
    return sum(1 for _ in csv.reader(io.StringIO(answer))) if as_csv else len(json.loads(answer)["predictions"])


def _joined(answers: Sequence[str]) -> str:
    """One answer of several: what goes by rows one after the other, the rest as in the first."""
    parts = [json.loads(answer) for answer in answers]
    by_rows = {
        key: [one for part in parts for one in part[key]] for key in ("predictions", "probabilities") if key in parts[0]
    }
    return json.dumps({**parts[0], **by_rows}, ensure_ascii=False)


def invoke(
    connection: Connection, dataset: str, body: bytes, content_type: str, accept: str, variant: str | None = None
) -> str:
    """The answer as text, of the variant that is named or that SageMaker chooses.

    Raises CommandError with the model's own sentence when it refuses the input.

    SageMaker wraps a container's 4xx in ModelError and puts the original body into OriginalMessage:
    https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_runtime_InvokeEndpoint.html
    """
    return _asked(connection, dataset, connection.endpoint_name(dataset), body, content_type, accept, variant)


def _asked(
    connection: Connection, dataset: str, name: str, body: bytes, content_type: str, accept: str, variant: str | None
) -> str:
    request: dict[str, Any] = {"EndpointName": name, "Body": body, "ContentType": content_type, "Accept": accept}
    if variant is not None:
        request["TargetVariant"] = variant
    runtime = connection.client("sagemaker-runtime")
    try:
        try:
            answer = runtime.invoke_endpoint(**request)
        except ClientError as error:
            kind = _kind(connection, name) if _code(error) == "ValidationError" else HostingKind.REAL_TIME
            if kind is HostingKind.ASYNCHRONOUS:
                return _queued(connection, dataset, request)
            if kind is not HostingKind.SCALE_TO_ZERO:
                raise
            answer = runtime.invoke_endpoint(**request, InferenceComponentName=name)
    except ClientError as error:
        if _code(error) == "ModelError":
            raise CommandError(_refusal(error.response.get("OriginalMessage", str(error)))) from error
        if _code(error) == "ValidationError" and "no capacity" in str(error):
            raise CommandError(
                f"{dataset} sleeps, and this call wakes it. Until an instance has started, which takes minutes, every "
                "call fails like this one; try again then."
            ) from error
        if _code(error) == "ValidationError" and "not found" in str(error):
            stand_in = names.stand_in(names.bare(name))
            if name != stand_in and connection.endpoint(stand_in) is not None:
                sys.stderr.write(f"{name} is being made anew as another kind of hosting; {stand_in} is asked\n")
                return _asked(connection, dataset, stand_in, body, content_type, accept, None)
            until = hours.asleep(connection).get(connection.endpoint_name(dataset))
            if until:
                raise CommandError(
                    f"{dataset} is asleep {until}. To wake it sooner: mlp snooze {dataset} --hours 2"
                ) from error
            raise CommandError(
                f"{dataset} has no endpoint. `mlp status {dataset}` says how far it has come."
            ) from error
        raise
    text: str = answer["Body"].read().decode()
    return text


def _code(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def _kind(connection: Connection, name: str) -> HostingKind:
    """How an endpoint is hosted; of one that is not there, as most are."""
    found = connection.endpoint(name)
    if found is None:
        return HostingKind.REAL_TIME
    return kind_of(connection.sagemaker.describe_endpoint_config(EndpointConfigName=found["EndpointConfigName"]))


def _queued(connection: Connection, dataset: str, request: dict[str, Any]) -> str:
    """The answer of an asynchronous endpoint, which comes by S3, and after minutes where it sleeps."""
    bucket, ending = connection.outputs["ArtifactBucketName"], "json" if "json" in request["ContentType"] else "csv"
    key = f"{names.queue_prefix(dataset, 'inputs')}{uuid.uuid4()}.{ending}"
    connection.s3.put_object(Bucket=bucket, Key=key, Body=request.pop("Body"))
    queued = connection.client("sagemaker-runtime").invoke_endpoint_async(
        **request, InputLocation=f"s3://{bucket}/{key}"
    )
    answer, failure = queued["OutputLocation"], queued["FailureLocation"]
    sys.stderr.write(f"{dataset} is asynchronous: the answer will be at {answer}; it takes minutes where it sleeps\n")
    for _ in range(_LONGEST_SECONDS):
        content = _stored(connection, answer)
        if content is not None:
            return content.decode()
        refused = _stored(connection, failure)
        if refused is not None:
            raise CommandError(_refusal(refused.decode()))
        time.sleep(1)
    raise CommandError(
        f"{dataset} has not answered within {_LONGEST_SECONDS // 60} minutes; look for {answer} later, or "
        f"for {failure}."
    )


def _stored(connection: Connection, uri: str) -> bytes | None:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        content: bytes = connection.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if _code(error) not in {"NoSuchKey", "404"}:
            raise
        return None
    return content


def _refusal(original: str) -> str:
    try:
        value = json.loads(original)
    except ValueError:
        return original
    return str(value.get("error", original)) if isinstance(value, dict) else original
