"""The custom resource that puts the model code where SageMaker's containers fetch it."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import builders
from builders import LambdaContext
from mlplatform import code_archive, custom_resource
from mlplatform.app import live_app
from mlplatform.custom_resource import Answer
from mlplatform.errors import BadEvent, PlatformError
from publish_model_code import handler, publish_model_code

STACK_ID = "arn:aws:cloudformation:us-east-1:123456789012:stack/ml-platform/51af3dc0-da77-11e4-872e-1234567db123"


def event(kind: str, url: str = "http://127.0.0.1:9/", **more: Any) -> dict[str, Any]:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-requesttypes-update.html"""
    return {
        "RequestType": kind,
        "ResponseURL": url,
        "StackId": STACK_ID,
        "RequestId": "unique-1",
        "ResourceType": "Custom::ModelCode",
        "LogicalResourceId": "ModelCode",
        "ResourceProperties": {"LayerVersion": "arn:aws:lambda:us-east-1:123456789012:layer:ml-platform-model-code:2"},
        **more,
    }


@dataclass
class FakeAws:
    """S3, as far as this function goes."""

    stored: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        self.stored[bucket, key] = body


@pytest.fixture
def app() -> Any:
    return SimpleNamespace(aws=FakeAws(), settings=builders.settings(artifact_bucket="artifacts"))


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    root = tmp_path / "opt"
    for name, content in {
        "train.py": "print('train')\n",
        "requirements.txt": "safetensors==0.8.0\n",
        "nested/more.py": "",
        "__pycache__/train.cpython-313.pyc": "compiled",
        "nested/__pycache__/more.cpython-313.pyc": "compiled",
        "python/mlplatform/__init__.py": "",
        ".DS_Store": "litter",
        "Makefile": "build-ModelCodeLayer:",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


def publish(app: Any, kind: str, layer: Path) -> Answer:
    return publish_model_code(app, custom_resource.request(event(kind)), lambda: layer)


def test_the_code_lands_under_its_digest_and_the_stack_learns_where(app: Any, layer: Path) -> None:
    answer = publish(app, "Create", layer)
    bucket, key = "artifacts", f"code/{answer.attributes['Digest']}/sourcedir.tar.gz"
    assert answer.attributes["Uri"] == f"s3://{bucket}/{key}"
    archive = app.aws.stored[bucket, key]
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        assert tar.getnames() == ["nested/more.py", "requirements.txt", "train.py"]
        assert tar.extractfile("train.py").read() == b"print('train')\n"  # type: ignore[union-attr]


def test_every_file_also_lies_there_as_it_is_for_processing_jobs(app: Any, layer: Path) -> None:
    answer = publish(app, "Create", layer)
    below = f"code/{answer.attributes['Digest']}/source/"
    files = {key.removeprefix(below): body for (_, key), body in app.aws.stored.items() if key.startswith(below)}
    assert files == {
        "nested/more.py": b"",
        "requirements.txt": b"safetensors==0.8.0\n",
        "train.py": b"print('train')\n",
    }


def test_the_same_files_give_the_same_bytes_whenever_and_by_whomever_they_were_written(layer: Path) -> None:
    first = code_archive.pack(layer)
    os.utime(layer / "train.py", (1, 1))
    (layer / "train.py").chmod(0o600)
    assert code_archive.pack(layer) == first


@pytest.mark.parametrize("change", ["content", "name"])
def test_other_files_give_another_digest(layer: Path, change: str) -> None:
    first = code_archive.pack(layer)
    if change == "content":
        (layer / "train.py").write_text("print('better')\n")
    else:
        (layer / "requirements.txt").rename(layer / "requirement.stxt")
    assert code_archive.pack(layer).digest != first.digest


def test_an_update_keeps_the_physical_id_and_the_old_code(app: Any, layer: Path) -> None:
    created = publish(app, "Create", layer)
    (layer / "train.py").write_text("print('better')\n")
    updated = publish(app, "Update", layer)
    assert updated.physical_id == created.physical_id == "ml-platform-ModelCode"
    assert len([key for _, key in app.aws.stored if key.endswith("sourcedir.tar.gz")]) == 2


def test_deleting_the_stack_leaves_the_code_to_the_models_made_with_it(app: Any, layer: Path) -> None:
    publish(app, "Create", layer)
    before = dict(app.aws.stored)
    assert publish(app, "Delete", layer).succeeded
    assert app.aws.stored == before


def test_the_model_code_is_found_beside_the_python_folder_of_whichever_layer_has_it(layer: Path) -> None:
    path = ["/var/task", str(layer.parent / "other" / "python"), str(layer / "python")]
    assert code_archive.layer_root(path) == layer


def test_without_the_model_code_layer_the_reason_says_so() -> None:
    with pytest.raises(PlatformError, match=r"no train\.py in /nowhere.*not attached"):
        code_archive.layer_root(["/nowhere/python"])


class Presigned(HTTPServer):
    """S3 as the presigned address sees it: refuses a content type that was not signed; may fail a few times first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.failures = 0
        self.answers: list[dict[str, Any]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/answer?signature=abc%2F"


class _Answers(BaseHTTPRequestHandler):
    server: Presigned

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.failures:
            self.server.failures -= 1
            self.send_response(503)
        elif self.headers["Content-Type"]:
            self.send_response(403)
        else:
            self.server.answers.append(json.loads(body))
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def presigned() -> Iterator[Presigned]:
    server = Presigned()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def test_the_answer_repeats_what_cloudformation_wants_repeated(presigned: Presigned) -> None:
    request = custom_resource.request(event("Create", presigned.url))
    custom_resource.send(request, Answer("id", True, "Done.", {"Uri": "s3://a/b"}))
    assert presigned.answers == [
        {
            "Status": "SUCCESS",
            "Reason": "Done.",
            "PhysicalResourceId": "id",
            "StackId": STACK_ID,
            "RequestId": "unique-1",
            "LogicalResourceId": "ModelCode",
            "Data": {"Uri": "s3://a/b"},
        }
    ]


def test_an_answer_that_does_not_get_through_is_sent_again(presigned: Presigned) -> None:
    presigned.failures = 2
    custom_resource.send(
        custom_resource.request(event("Create", presigned.url)), Answer("id", True, ""), pause_seconds=0
    )
    assert len(presigned.answers) == 1


def test_when_nobody_takes_the_answer_lambda_is_told_to_try_again(presigned: Presigned) -> None:
    presigned.failures = 99
    with pytest.raises(PlatformError, match="could not be answered"):
        custom_resource.send(
            custom_resource.request(event("Create", presigned.url)), Answer("id", True, ""), pause_seconds=0
        )


def test_an_endless_reason_is_cut_to_what_cloudformation_takes(presigned: Presigned) -> None:
    custom_resource.send(custom_resource.request(event("Create", presigned.url)), Answer("id", False, "x" * 9000))
    assert len(json.dumps(presigned.answers[0])) < 4096


def test_a_request_that_cannot_be_answered_is_a_bad_event() -> None:
    incomplete = event("Create")
    del incomplete["ResponseURL"]
    with pytest.raises(BadEvent, match="ResponseURL"):
        custom_resource.request(incomplete)


def test_a_failure_is_answered_with_its_reason_so_that_nobody_waits_for_nothing(presigned: Presigned) -> None:
    live_app.cache_clear()
    answer = handler(event("Create", presigned.url), LambdaContext())  # in an environment without any setting
    assert presigned.answers[0]["Status"] == "FAILED"
    assert presigned.answers[0]["PhysicalResourceId"] == "ml-platform-ModelCode"
    assert answer["reason"].startswith(presigned.answers[0]["Reason"])  # cut to what CloudFormation takes
    assert "ARTIFACT_BUCKET is not set" in answer["reason"]
