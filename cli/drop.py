"""`mlp drop`: uploads a dataset into the data bucket, where its arrival starts everything else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from cli.connection import CommandError, Connection
from cli.follow import conclude, follow_to_end, known
from cli.terminal import Terminal
from mlplatform import names
from mlplatform.errors import DataRejected
from mlplatform.facts import StoredObject
from mlplatform.job_spec import parse_job_spec

ENDINGS = (".csv", ".csv.gz", ".parquet")
console = Terminal()


def drop(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="A CSV or Parquet file, several, or a folder with job.json.")],
    dataset: Annotated[str | None, typer.Option(help="The dataset's name; by default the file's.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Stay, and tell what happens, to the end.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what the dataset's folder holds besides, an old job.json too.")
    ] = False,
) -> None:
    """Upload a dataset; with --follow, stay with it until its endpoint answers or a sentence says why not.

    A job.json that lies beside the files goes with them.

    Example: `mlp drop iris.csv --follow`, `mlp --laptop drop data/ --dataset churn`, `mlp drop new.csv --dataset churn
    --replace`
    """
    connection: Connection = context.obj
    chosen = files_of(files)
    name = dataset or dataset_name(files[0] if files[0].is_dir() else _named_after(chosen))
    assert_good_drop(connection, chosen, name, replace)
    since = connection.now().timestamp() - 1
    gone = clear(connection, chosen, name) if replace else []
    version = upload(connection, chosen, name, console)
    if gone:
        console.print(f"removed {', '.join(gone)}", markup=False)
    console.print(
        f"dropped {', '.join(file.name for file in chosen)} as dataset [bold]{name}[/bold], version {version}"
    )
    before = known(connection, name, version, since)
    if before is not None and before.kind == "open":
        console.print(before.reason, markup=False)
    elif before is not None:
        conclude(before, name, console)
        return
    if not follow:
        console.print(f"see how far it is: mlp status {name}")
        return
    follow_to_end(connection, console, name, version, since)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files to upload: those named, or a folder's data files, and the job.json that lies beside them.

    Raises CommandError where there is none, or where two have one name, since a dataset has no folders in it.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [child for child in sorted(path.iterdir()) if child.is_file() and _belongs(child)]
            if not inside:
                raise CommandError(f"The folder {path} holds no {', '.join(ENDINGS)} file.")
            found += inside
        elif path.is_file():
            beside = path.parent / names.JOB_SPEC_FILE
            found += [path, *([beside] if beside.is_file() else [])]
        else:
            raise CommandError(f"There is no file {path}.")
    files = list({file.resolve(): file for file in reversed(found)}.values())[::-1]
    by_name: dict[str, Path] = {}
    for file in files:
        other = by_name.setdefault(file.name, file)
        if other != file:
            raise CommandError(
                f"{other} and {file} have one name, and the second would overwrite the first. Rename one, or drop "
                "them as two datasets with --dataset."
            )
    return files


def _belongs(file: Path) -> bool:
    return file.name.endswith(ENDINGS) or file.name == names.JOB_SPEC_FILE


def _is_data(file_name: str) -> bool:
    return file_name != names.JOB_SPEC_FILE and not file_name.startswith(".")


def _named_after(files: Sequence[Path]) -> Path:
    """The file that gives the dataset its name. Raises CommandError where there is job.json alone."""
    data = [file for file in files if _is_data(file.name)]
    if not data:
        raise CommandError(f"{names.JOB_SPEC_FILE} alone names no dataset. Say whose it is with --dataset.")
    return data[0]


def dataset_name(path: Path) -> str:
    """A legal dataset name from a file's or folder's: `Kundenübersicht Q3.csv` becomes `kundenubersicht-q3`."""
    stem = path.resolve().name.split(".")[0].casefold()
    plain = "".join(one for one in unicodedata.normalize("NFKD", stem) if not unicodedata.combining(one))
    return "-".join(re.findall(r"[a-z0-9]+", plain))[:32].strip("-") or "dataset"


def assert_good_drop(connection: Connection, files: Sequence[Path], dataset: str, replace: bool) -> None:
    """What the platform would refuse anyway, or never judge, is not uploaded. Raises CommandError."""
    if not names.DATASET_PATTERN.fullmatch(dataset):
        raise CommandError(
            f"{dataset!r} is no dataset name: lower-case letters and digits, single hyphens between them, "
            "at most 32 of them. Try --dataset with another name."
        )
    for file in files:
        if file.name == names.JOB_SPEC_FILE:
            try:
                parse_job_spec(file.read_bytes())
            except DataRejected as error:
                raise CommandError(f"{error.reason} It is {file}; nothing was uploaded.") from error
    if not any(_is_data(file.name) for file in files):
        prefix = f"{names.DATASETS_PREFIX}{dataset}/"
        stored = connection.s3.list_objects_v2(Bucket=connection.data_bucket, Prefix=prefix).get("Contents", [])
        if replace or not any(_is_data(entry["Key"].rpartition("/")[2] or ".") for entry in stored):
            left = "nothing else would be left in" if replace else "no data lies in"
            raise CommandError(
                f"Nothing can be learnt from {names.JOB_SPEC_FILE} alone, and {left} {prefix}. Name a "
                f"{' or '.join((', '.join(ENDINGS[:-1]), ENDINGS[-1]))} file as well."
            )


def upload(connection: Connection, files: Sequence[Path], dataset: str, console: Console) -> str:
    """Puts the files under `datasets/<dataset>/`, job.json first; returns the dataset version that results."""
    prefix = f"{names.DATASETS_PREFIX}{dataset}/"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        for file in sorted(files, key=lambda file: (file.name != names.JOB_SPEC_FILE, file.name)):
            row = progress.add_task(file.name, total=file.stat().st_size)
            connection.s3.upload_file(
                str(file),
                connection.data_bucket,
                prefix + file.name,
                Callback=lambda sent, row=row: progress.advance(row, sent),
            )
    return stored_version(connection, dataset)


def clear(connection: Connection, files: Sequence[Path], dataset: str) -> list[str]:
    """Removes what lies under `datasets/<dataset>/` beside these files; the names. The bucket keeps old versions."""
    prefix = f"{names.DATASETS_PREFIX}{dataset}/"
    staying = {prefix + file.name for file in files}
    gone = [
        entry["Key"]
        for page in connection.s3.get_paginator("list_objects_v2").paginate(
            Bucket=connection.data_bucket, Prefix=prefix
        )
        for entry in page.get("Contents", [])
        if entry["Key"] not in staying
    ]
    for key in gone:
        connection.s3.delete_object(Bucket=connection.data_bucket, Key=key)
    return [key.removeprefix(prefix) for key in gone]


def stored_version(connection: Connection, dataset: str) -> str:
    """The version of what lies under `datasets/<dataset>/` now, as the platform itself computes it."""
    pages = connection.s3.get_paginator("list_objects_v2").paginate(
        Bucket=connection.data_bucket, Prefix=f"{names.DATASETS_PREFIX}{dataset}/"
    )
    return names.dataset_version(
        StoredObject(entry["Key"], entry["ETag"], entry["Size"], entry.get("LastModified", datetime.now(UTC)))
        for page in pages
        for entry in page.get("Contents", [])
        if not entry["Key"].endswith("/")
    )
