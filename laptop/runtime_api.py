"""One Lambda execution environment: the official runtime client in its own process, and the runtime API it talks to.

The API and its headers are documented at https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html. Every
environment has a listener of its own on a free port: the client makes its error calls with http.client, which takes
`host:port` but no path in AWS_LAMBDA_RUNTIME_API, so the functions cannot share one address.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.server
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laptop.clock import Clock

# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html: the init phase is limited to 10 seconds,
# then it is repeated at the first invocation within the function's own timeout.
INIT_SECONDS = 10.0
_API = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Call:
    """One event on its way into an environment."""

    request_id: str
    function_arn: str
    payload: bytes
    timeout_seconds: int


@dataclass(frozen=True)
class Outcome:
    """What became of a call. `error` is None, or "Unhandled" as in the X-Amz-Function-Error header."""

    payload: bytes
    error: str | None
    duration_ms: float
    init_ms: float | None  # only when the call had to start the environment
    max_memory_mib: int


def error_payload(kind: str, message: str) -> bytes:
    return json.dumps({"errorType": kind, "errorMessage": message}).encode()


class Environment:
    """A process that serves one call at a time. `usable` turns False when it has died, timed out or was closed."""

    def __init__(
        self, handler: str, code: Path, tmp: Path, environment: Mapping[str, str], key: str, *, clock: Clock
    ) -> None:
        """Starts the process in the folder `code`; nothing is waited for.

        `key` stands for the function's code and configuration: an environment with another key is out of date.
        """
        self.key = key
        self._clock = clock
        self.log_stream = environment["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.usable = True
        self._tmp = tmp
        self._condition = threading.Condition()
        self._call: Call | None = None  # waits for the process to fetch it
        self._running: Call | None = None
        self._answer: tuple[bytes, str | None] | None = None
        self._asked_for_work = False
        self._started = time.perf_counter()
        self._ready_after_ms: float | None = None
        self._init_reported = False
        self._lines: list[tuple[int, str]] = []
        self._server = _listen(self)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            cwd=code,
            env={
                **environment,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_address[1]}",
                "TMPDIR": str(tmp),
                "HOME": str(tmp),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        threading.Thread(target=self._read_output, daemon=True, name="lambda-output").start()
        threading.Thread(target=self._watch, daemon=True, name="lambda-watch").start()

    def invoke(self, call: Call) -> Outcome:
        """Runs one call to its end: answered, failed, timed out or dead. Never raises for the function's mistakes."""
        with self._condition:
            cold = not self._init_reported
            self._init_reported = True
            self._answer = None
            self._call = call
            self._condition.notify_all()
            fetched = self._condition.wait_for(
                lambda: self._running is call or self._answer is not None or not self.usable,
                INIT_SECONDS + call.timeout_seconds,
            )
            begun = time.perf_counter()
            if fetched and self._running is call:
                self._condition.wait_for(
                    lambda: self._answer is not None or not self.usable, timeout=call.timeout_seconds
                )
            duration_ms = (time.perf_counter() - begun) * 1000
            answer = self._answer
            self._call = self._running = None
        memory = self._peak_memory_mib()
        if answer is None:
            code = self._process.poll()
            if not self.usable and code is not None:
                how = f"exit status {code}" if code >= 0 else f"signal: {signal.Signals(-code).name[3:].lower()}"
                message = f"RequestId: {call.request_id} Error: Runtime exited with error: {how}"
                answer = (error_payload("Runtime.ExitError", message), "Unhandled")
            else:
                duration_ms = call.timeout_seconds * 1000.0
                message = f"RequestId: {call.request_id} Error: Task timed out after {call.timeout_seconds}.00 seconds"
                answer = (error_payload("Sandbox.Timedout", message), "Unhandled")
            self.close()
        elif not self.usable:
            self.close()
        self._drain()
        init_ms = None
        if cold:
            init_ms = self._ready_after_ms or (time.perf_counter() - self._started) * 1000
        return Outcome(answer[0], answer[1], duration_ms, init_ms, memory)

    def take_lines(self) -> list[tuple[int, str]]:
        """What the function printed since the last call: epoch milliseconds and text."""
        with self._condition:
            lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        """Kills the process with everything it started, and forgets its temporary files."""
        with self._condition:
            self.usable = False
            self._condition.notify_all()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        threading.Thread(target=self._server.stop, daemon=True).start()
        shutil.rmtree(self._tmp, ignore_errors=True)

    # The runtime API, called by the listener's threads.

    def next_call(self) -> Call | None:
        """Blocks until there is work; None when the environment is being closed."""
        with self._condition:
            if not self._asked_for_work:
                self._asked_for_work = True
                self._ready_after_ms = (time.perf_counter() - self._started) * 1000
            self._condition.wait_for(lambda: self._call is not None or not self.usable)
            call, self._call = self._call, None
            self._running = call
            self._condition.notify_all()
            return call

    def answer(self, request_id: str, payload: bytes, error: str | None) -> bool:
        """False when the call is not the one that runs: it has timed out."""
        with self._condition:
            if self._running is None or self._running.request_id != request_id or self._answer is not None:
                return False
            self._answer = (payload, error)
            self._condition.notify_all()
            return True

    def init_failed(self, payload: bytes) -> None:
        with self._condition:
            self._answer = (payload, "Unhandled")
            self._ready_after_ms = (time.perf_counter() - self._started) * 1000
            self.usable = False
            self._condition.notify_all()

    def _watch(self) -> None:
        self._process.wait()
        with self._condition:
            self.usable = False
            self._condition.notify_all()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for raw in output:
                # The client joins the lines of a stack trace by carriage returns, so that they stay one log event.
                text = raw.decode("utf-8", "replace").rstrip("\n").replace("\r", "\n")
                if text:
                    with self._condition:
                        self._lines.append((self._clock.now_ms(), text))

    def _drain(self) -> None:
        """Waits, briefly, until all that was printed before the answer has been read."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + 0.2
        with contextlib.suppress(OSError, ValueError):  # closed: the process is gone and everything was read
            while time.monotonic() < deadline:
                waiting = fcntl.ioctl(self._process.stdout.fileno(), termios.FIONREAD, b"\0\0\0\0")
                if struct.unpack("i", waiting)[0] == 0:
                    break
                time.sleep(0.001)
        time.sleep(0.001)

    def _peak_memory_mib(self) -> int:
        with contextlib.suppress(OSError, StopIteration):
            status = Path(f"/proc/{self._process.pid}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            return int(line.split()[1]) // 1024
        import psutil

        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(self._process.pid).memory_info().rss) // 2**20
        return 0


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    environment: Environment

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A killed process drops its connections; that is no news."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


def _listen(environment: Environment) -> _Listener:
    server = _Listener(("127.0.0.1", 0), _Runtime)
    server.environment = environment
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.5}, daemon=True, name="lambda-api").start()
    return server


class _Runtime(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet

    def do_GET(self) -> None:
        assert isinstance(self.server, _Listener)
        if self.path != f"{_API}/invocation/next":
            self._send(404, b"{}")
            return
        call = self.server.environment.next_call()
        if call is None:
            self.close_connection = True
            return
        # The process sees the machine's time, wherever the account's clock was moved, so its deadline is on it too.
        deadline = int(time.time() * 1000) + call.timeout_seconds * 1000
        trace = f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Parent={uuid.uuid4().hex[:16]};Sampled=0"
        self._send(
            200,
            call.payload,
            {
                "Lambda-Runtime-Aws-Request-Id": call.request_id,
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": call.function_arn,
                "Lambda-Runtime-Trace-Id": trace,
            },
        )

    def do_POST(self) -> None:
        assert isinstance(self.server, _Listener)
        environment = self.server.environment
        body = self._body()
        parts = self.path.removeprefix(_API).strip("/").split("/")
        accepted = True
        if parts == ["init", "error"]:
            environment.init_failed(body)
        elif len(parts) == 3 and parts[0] == "invocation" and parts[2] in ("response", "error"):
            accepted = environment.answer(parts[1], body, "Unhandled" if parts[2] == "error" else None)
        else:
            self._send(404, b"{}")
            return
        if accepted:
            self._send(202, b'{"status":"OK"}')
        else:
            self._send(400, error_payload("InvalidRequestID", "Invalid request ID"))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


class CallbackListener:
    """A URL that is good for one answer: what a custom resource's ResponseURL is in AWS (a pre-signed S3 URL)."""

    def __init__(self) -> None:
        self._waiting: dict[str, Callable[[bytes], None]] = {}
        waiting = self._waiting

        class Handler(_Runtime):
            def do_GET(self) -> None:
                self._send(403, b"{}")

            def do_POST(self) -> None:
                self._send(403, b"{}")

            def do_PUT(self) -> None:
                accept = waiting.pop(self.path.strip("/"), None)
                body = self._body()
                if accept is None:
                    self._send(403, b"{}")
                    return
                accept(body)
                self._send(200, b"")

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True, name="cfn-response").start()

    def url(self, accept: Callable[[bytes], None]) -> str:
        token = uuid.uuid4().hex
        self._waiting[token] = accept
        return f"http://127.0.0.1:{self._server.server_address[1]}/{token}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
