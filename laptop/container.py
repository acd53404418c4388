"""What SageMaker's jobs have in common here: a container's process, and its files' way to and from S3.

There is no Docker: a container is a process on this machine's Python with nothing of the caller's environment, and
/opt/ml is a folder of the job's own, which its program learns from SAGEMAKER_BASE_DIR.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import psutil
from boto3.exceptions import S3UploadFailedError
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from laptop.account import REGION
from laptop.sagemaker_common import split_s3_uri

CONTAINER_BASE = PurePosixPath("/opt/ml")
# The job's only host. SageMaker calls it algo-1; the toolkit waits until the name resolves, and this one does.
HOST = "localhost"
DOWNLOADS_AT_ONCE = 4
_TRANSFER = TransferConfig(use_threads=False)  # the files are small; a pool per file costs more than it brings


class TransferError(Exception):
    """S3 did not give or take the job's files: `str()` is the FailureReason, worded as SageMaker does."""


def local_path(base: Path, path: str) -> Path:
    """Where a path of the container lies on this machine. Raises TransferError for one outside /opt/ml."""
    if not PurePosixPath(path).is_relative_to(CONTAINER_BASE) or ".." in PurePosixPath(path).parts:
        raise TransferError(f"ClientError: The laptop keeps only {CONTAINER_BASE}; {path} lies elsewhere.")
    return base / PurePosixPath(path).relative_to(CONTAINER_BASE)


def environment(base: Path) -> dict[str, str]:
    """The environment of a container's program before the job's own variables: nothing of the caller's.

    PATH leads to this machine's tools; the PYTHON variables are those of AWS's PyTorch image.
    """
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": str(base / "tmp"),
        "TMPDIR": str(base / "tmp"),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "PYTHONIOENCODING": "UTF-8",
        "PYTHONUNBUFFERED": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "SAGEMAKER_BASE_DIR": str(base),
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "CURRENT_HOST": HOST,
        # Jobs share this machine's processors, unlike instances: threads that wait for each other must not hold them.
        # A small XGBoost job took a hundred times as long where they did.
        "OMP_WAIT_POLICY": "passive",
    }


class Process:
    """A container's program, with all processes that it starts."""

    def __init__(self, command: Sequence[str], cwd: Path, variables: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(variables),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own: a signal reaches the script's workers too
        )
        self._reading = False

    def start(self, on_line: Callable[[str], None], say: bytes = b"") -> threading.Thread:
        """Gives the program its standard input; every line it writes goes to `on_line`, from the returned thread."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(say)
        self._reading = True
        reader = threading.Thread(target=self._read, args=(on_line,), daemon=True)
        reader.start()
        return reader

    def _read(self, on_line: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                on_line(line.decode("utf-8", "replace").rstrip("\r\n"))

    def wait(self, seconds: float) -> int | None:
        """The exit code (128 + signal number where a signal ended it), or None if it still runs after `seconds`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def send(self, number: signal.Signals) -> None:
        """Signals every process of the container; does nothing where none is left.

        torchrun's workers have sessions of their own. It passes a request to end on to them, but not a SIGKILL.
        """
        workers: list[psutil.Process] = []
        if number is signal.SIGKILL:
            with contextlib.suppress(psutil.NoSuchProcess):
                workers = psutil.Process(self._process.pid).children(recursive=True)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(number)

    def discard(self) -> None:
        """Ends what is left of it."""
        self.send(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        if not self._reading and self._process.stdout is not None:
            self._process.stdout.close()  # otherwise its reader closes it


class Store:
    """S3 with the rights of the job's role. Its methods raise TransferError."""

    def __init__(self, s3: Any) -> None:
        self.s3 = s3

    def objects(self, uri: str, data_type: str) -> Iterator[tuple[str, str, str]]:
        """(bucket, key, path below the input's folder) of every object of an S3Prefix or a ManifestFile."""
        bucket, prefix = split_s3_uri(uri)
        if data_type == "S3Prefix":
            for key in self.keys(bucket, prefix):
                yield bucket, key, below(prefix, key)
            return
        # S3DataSource of the API reference: an array whose first element is the common prefix.
        text = self.s3.get_object(Bucket=bucket, Key=prefix)["Body"].read()
        try:
            first, *suffixes = json.loads(text)
            bucket, start = split_s3_uri(first["prefix"])
            keys = [(start + suffix, suffix) for suffix in suffixes]
        except (ValueError, TypeError, KeyError) as error:
            raise TransferError(
                f"ClientError: Data download failed:The manifest {uri} is not of the form "
                f'[{{"prefix": "s3://bucket/prefix/"}}, "key", ...]'
            ) from error
        for key, relative in keys:
            yield bucket, key, relative

    def found(self, uri: str, data_type: str) -> list[tuple[str, str, str]]:
        """The objects of an input, of which there must be one at least."""
        try:
            objects = list(self.objects(uri, data_type))
        except ClientError as error:
            details = error.response["Error"]
            raise TransferError(f"ClientError: Data download failed:{details['Code']}: {details['Message']}") from error
        if not objects:
            raise TransferError(f"ClientError: Data download failed:No S3 objects found under S3 URL {uri}")
        return objects

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        for answer in self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for stored in answer.get("Contents", []):
                if not stored["Key"].endswith("/"):
                    yield stored["Key"]

    def download(self, wanted: Iterable[tuple[str, str, Path, str]]) -> None:
        """Every (bucket, key, folder, path below the folder), several at a time."""
        try:
            with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
                list(pool.map(lambda item: self._download(*item), wanted))
        except ClientError as error:
            details = error.response["Error"]
            raise TransferError(f"ClientError: Data download failed:{details['Code']}: {details['Message']}") from error

    def _download(self, bucket: str, key: str, folder: Path, relative: str) -> None:
        target = (folder / relative).resolve()
        if not target.is_relative_to(folder.resolve()) or target == folder.resolve():
            raise TransferError(f"ClientError: Data download failed:The key {key} leads out of the channel's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        self.s3.download_file(bucket, key, str(target), Config=_TRANSFER)

    def upload(self, path: Path, uri: str) -> None:
        bucket, key = split_s3_uri(uri)
        try:
            self.s3.upload_file(str(path), bucket, key, Config=_TRANSFER)
        except (ClientError, S3UploadFailedError) as error:
            raise TransferError(f"ClientError: Artifact upload failed:{error}") from error

    def upload_folder(self, path: Path, uri: str) -> str | None:
        """Every file below the folder, to below the URI, which ends in a slash; None where there is no file."""
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        for file in files:
            self.upload(file, uri + file.relative_to(path).as_posix())
        return uri if files else None


def folder(prefix: str) -> str:
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def below(prefix: str, key: str) -> str:
    """Where an object of an S3Prefix input lies below the input's folder."""
    if key.startswith(folder(prefix)):
        return key.removeprefix(folder(prefix))
    return key[prefix.rfind("/") + 1 :]  # the prefix is a whole key, or ends within a name
