"""One hosting instance as a process: how it is started, asked, checked for its health, and ended.

laptop/instance.py is what runs in it. Health checks follow the developer guide ("How your container should respond to
health check requests"): a container that does not answer is replaced.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
import psutil

DRAIN_SECONDS = 60.0
# Health checks of what is in service: "/ping" has 2 seconds ("How your container should respond to health check
# requests", developer guide). One that hangs is replaced after so many without an answer and without a request under
# way, for a container may work on one request at a time; or when the longest request should long have ended.
PING_TIMEOUT_SECONDS, PING_MISSES, PING_LOST_SECONDS = 2.0, 3, 90.0
NO_CAPACITY = (
    "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a "
    "different ML instance type or after some time."
)
INSTANCE_SCRIPT = Path(__file__).with_name("instance.py")


class LaunchError(Exception):
    """A fleet could not be brought into service; the message becomes the endpoint's FailureReason."""


class CapacityError(LaunchError):
    """There is no machine of a type, by POST /_laptop/fault for the call of EC2's that would have got one."""


class InstanceLostError(Exception):
    """The instance did not answer: `sent` says whether it may have seen the request."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection to an instance; one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.parser: Any = httptools.HttpResponseParser(self)
        self.answer: asyncio.Future[tuple[int, dict[str, str], bytes]] | None = None
        self.headers: dict[str, str] = {}
        self.body: list[bytes] = []

    @property
    def usable(self) -> bool:
        return self.transport is not None and not self.transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"the container's answer is not HTTP: {error}")
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result((self.parser.get_status_code(), self.headers, b"".join(self.body)))
        if not self.parser.should_keep_alive():
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._fail("the container closed the connection")

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def _fail(self, reason: str) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(InstanceLostError(reason, sent=True))

    async def request(self, data: bytes, timeout_seconds: float) -> tuple[int, dict[str, str], bytes]:
        """Sends one request. Raises InstanceLostError, or TimeoutError after `timeout_seconds`."""
        loop = asyncio.get_running_loop()
        self.answer = loop.create_future()
        self.headers, self.body = {}, []
        if self.transport is None:
            raise InstanceLostError("the container closed the connection", sent=False)
        timer = loop.call_later(timeout_seconds, self._time_out)
        self.transport.write(data)
        try:
            return await self.answer
        finally:
            timer.cancel()
            if not self.answer.done() or self.answer.cancelled():
                self.close()  # the caller went away; the late answer must not meet the next request

    def _time_out(self) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(TimeoutError())
            self.close()


@dataclass(eq=False)
class Instance:
    """One hosting instance: a process group, its loopback port, its log stream and its connections."""

    endpoint: str
    variant: str
    model_dir: Path
    environment: dict[str, str]
    log: Callable[[str, str, str], None]  # endpoint, stream, line
    id: str = field(default_factory=lambda: f"i-{secrets.token_hex(8)}{secrets.randbits(4):x}")
    in_flight: int = 0
    idle: deque[Connection] = field(default_factory=deque)
    port: int = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)
    stopping: bool = False
    ended: Callable[[], None] = lambda: None  # called once it no longer runs
    misses: int = 0  # health checks without an answer since the last that had one
    answered: float = field(default_factory=time.monotonic)  # the last health check that had one
    _measured: psutil.Process | None = None

    @property
    def stream(self) -> str:
        return f"{self.variant}/{self.id}"

    def start(self) -> None:
        """The listening socket is made here and inherited, so that no port can be lost in between."""
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        self.port = listening.getsockname()[1]
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-P", str(INSTANCE_SCRIPT)),
                *("--model-dir", str(self.model_dir), "--socket", str(listening.fileno())),
            ],
            env=self.environment,
            cwd=self.model_dir,
            stdin=subprocess.PIPE,  # its end tells the instance that the laptop is gone
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        listening.close()
        threading.Thread(target=self._read_log, daemon=True, name=f"log-{self.id}").start()

    def _read_log(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log(self.endpoint, self.stream, line.decode("utf-8", "replace").rstrip())

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def wait_healthy(self, timeout_seconds: float) -> bool:
        """True once /ping answered 200; False if the process ended or the time did."""
        deadline = time.monotonic() + timeout_seconds
        while self.alive and time.monotonic() < deadline and not self.stopping:
            if self._ping(1.0):
                self.answered = time.monotonic()
                return True
            time.sleep(0.02)
        return False

    def _ping(self, timeout_seconds: float) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_seconds) as ping:
                ping.sendall(b"GET /ping HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                return b" 200 " in ping.recv(64).split(b"\r\n", 1)[0]
        except OSError:
            return False

    def hangs(self) -> bool:
        """Checks its health; whether it has not answered for so long that it is to be replaced."""
        busy = self.in_flight > 0
        if self._ping(PING_TIMEOUT_SECONDS):
            self.misses, self.answered = 0, time.monotonic()
        elif not busy and not self.in_flight:
            self.misses += 1
        return self.misses >= PING_MISSES or time.monotonic() - self.answered > PING_LOST_SECONDS

    def usage(self) -> tuple[float, float]:
        """CPU since the last call (100 per busy core) and memory, both in percent."""
        try:
            if self._measured is None:
                self._measured = psutil.Process(self.process.pid)
            return self._measured.cpu_percent(None), self._measured.memory_percent()
        except psutil.Error:
            return 0.0, 0.0

    def memory_bytes(self) -> int:
        """What the process has in memory; 0 once it has ended."""
        try:
            return int(psutil.Process(self.process.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def connection(self) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if connection.usable:
                return connection
        try:
            _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.port)
        except OSError as error:
            raise InstanceLostError(str(error), sent=False) from error
        return made

    async def invoke(self, data: bytes, timeout_seconds: float) -> tuple[int, dict[str, str], bytes]:
        """One request in HTTP/1.1. Raises InstanceLostError, TimeoutError."""
        connection = await self.connection()
        answer = await connection.request(data, timeout_seconds)
        if connection.usable:
            self.idle.append(connection)
        return answer

    def stop(self, *, drain: bool) -> None:
        """Ends the process group; with `drain` only after the requests under way, at most DRAIN_SECONDS later."""
        deadline = time.monotonic() + (DRAIN_SECONDS if drain else 0.0)
        if drain:
            time.sleep(0.1)  # a request that chose this instance just before the shift is counted by now
        while drain and self.in_flight and self.alive and time.monotonic() < deadline:
            time.sleep(0.01)
        self.stopping = True
        for end in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, end)
                self.process.wait(1.0)
                break
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.poll()
        self.ended()


def stop_all(instances: Iterable[Instance], *, drain: bool) -> None:
    """Ends them side by side, and returns when they have ended."""
    ending = tuple(instances)
    if ending:
        with ThreadPoolExecutor(len(ending)) as pool:
            list(pool.map(lambda instance: instance.stop(drain=drain), ending))
