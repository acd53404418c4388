"""A small account for tests of single services: moto behind one HTTP address, without the rest of the laptop."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from laptop import moto_app
from laptop.account import Account
from laptop.aws_request import HttpRequest
from laptop.clock import Clock
from laptop.journal import Journal


class RecordingBus:
    """The event bus: it keeps what it gets."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = []

    def put(self, source: str, detail_type: str, detail: dict[str, Any], resources: tuple[str, ...] = ()) -> None:
        self.events.append((source, detail_type, detail, resources))


class OpenIdentities:
    """Every role may do everything; `asked` says which roles were assumed."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def credentials(self, role_arn: str) -> dict[str, str]:
        self.asked.append(role_arn)
        return {"aws_access_key_id": "role", "aws_secret_access_key": "role", "aws_session_token": "token"}

    def assert_allowed(self, role_arn: str, action: str, resource: str) -> None:
        """Allows it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        body = self._chunks() if self.headers.get("Transfer-Encoding") else self._content()
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answered, content = moto_app.call(HttpRequest(self.command, path, query, headers, body))
        self.send_response(status)
        for name, value in answered.items():
            self.send_header(name, value)
        if "content-length" not in {name.lower() for name in answered}:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _content(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        raw = b""
        while size := int(self.rfile.readline(), 16):
            raw += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return raw

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve
    wbufsize = -1  # one packet per answer

    def handle_expect_100(self) -> bool:
        proceed = super().handle_expect_100()
        self.wfile.flush()  # the client holds its upload back for a second until it sees this
        return proceed

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def moto_account(home: Path) -> Iterator[Account]:
    """An account whose S3, IAM, CloudWatch and Logs are moto's; its closers are called at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    clock = Clock()
    account = Account(port=server.server_address[1], home=home, clock=clock, journal=Journal(clock))
    account.events = RecordingBus()
    account.identities = OpenIdentities()
    try:
        yield account
    finally:
        for close in reversed(account.closers):
            close()
        server.shutdown()
        server.server_close()
