"""How fast a model answers: the model server alone, InvokeEndpoint through the laptop, and the standard library's
server around the same model, in turns, under the same load: 16 clients, one row of JSON, a network of the reference's
size (20 inputs, 128 and 64 hidden, 2 classes).

The load comes from another process of precomputed bytes on raw uvloop protocols: what it costs itself is measured
too, against a server that only replies, and shown as the ceiling.
"""

from __future__ import annotations

import asyncio
import io
import json
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import Figure

ROOT = Path(__file__).parents[1]
CLIENTS = 16
ROUNDS = 3
SECONDS = 2.0
INPUTS, HIDDEN = 20, 128
IMAGE = "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker"
AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=laptop/20260101/us-east-1/sagemaker/aws4_request"
BODY = json.dumps({"features": [[round(0.1 * number, 3) for number in range(INPUTS)]]}).encode()


def measure() -> list[Figure]:
    """Medians over rounds in which every server takes its turn, so that a drifting machine hits all alike."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = folder / "model"
        write_model(model)
        servers = {
            "constant reply": (stack.enter_context(_script("--constant", model)), "/invocations"),
            "model server": (stack.enter_context(_instance(model, folder / "scratch")), "/invocations"),
            "InvokeEndpoint": (stack.enter_context(_laptop(model)), "/endpoints/bench/invocations"),
            "stdlib, buffered": (stack.enter_context(_script("--buffered", model)), "/invocations"),
            "stdlib, default": (stack.enter_context(_script("--default", model)), "/invocations"),
        }
        for port, path in servers.values():
            _load(port, path, 0.5)
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, (port, path) in servers.items():
                runs[name].append(_load(port, path, SECONDS))
    median = {
        name: {key: statistics.median(run[key] for run in results) for key in results[0]}
        for name, results in runs.items()
    }
    errors = {name: sum(run["errors"] for run in results) for name, results in runs.items()}
    ratios = {
        peer: statistics.median(
            ours["per_second"] / theirs["per_second"]
            for ours, theirs in zip(runs["model server"], runs[peer], strict=True)
        )
        for peer in ("stdlib, buffered", "stdlib, default")
    }
    figures = []
    goals = {"model server": (">= 4000", ""), "InvokeEndpoint": (">= 400", "<= 100")}
    for name, values in median.items():
        rate_goal, p99_goal = goals.get(name, ("", ""))
        note = "the ceiling of the load generator" if name == "constant reply" else ""
        figures += [
            Figure(f"{name}: rate", values["per_second"], "req/s", rate_goal, note),
            Figure(f"{name}: p50", values["p50_ms"], "ms"),
            Figure(f"{name}: p99", values["p99_ms"], "ms", p99_goal),
            Figure(f"{name}: errors", errors[name], "requests", "<= 0"),
        ]
    for peer, ratio in ratios.items():
        figures.append(Figure(f"model server / {peer}", ratio, "times the rate"))
    return figures


def write_model(folder: Path) -> None:
    """A model artifact's folder of the reference's size, with random weights and the real serving code."""
    from safetensors.numpy import save_file

    random = np.random.default_rng(0)
    widths = [INPUTS, HIDDEN, HIDDEN // 2, 2]
    weights = {}
    for layer, (into, out) in zip(("first", "second", "last"), pairwise(widths), strict=True):
        weights[f"0/{layer}.weight"] = random.standard_normal((out, into), dtype=np.float32)
        weights[f"0/{layer}.bias"] = random.standard_normal(out, dtype=np.float32)
    (folder / "code").mkdir(parents=True)
    save_file(weights, folder / "model.safetensors")
    columns = [
        {"kind": "numeric", "name": f"column_{number}", "center": 0.0, "scale": 1.0, "knots": [0.0], "missing": False}
        for number in range(INPUTS)
    ]
    network = {"network": "mlp", "folds": 1, "bend": 3.0}
    schema = {
        "format": 2,
        "task": "binary",
        "classes": [0, 1],
        "columns": columns,
        "model_version": "bench",
        "network": network,
    }
    (folder / "schema.json").write_text(json.dumps({**schema, "target": None}))
    for path in (ROOT / "model_code").glob("*.py"):  # more than an artifact has, and never less
        (folder / "code" / path.name).write_bytes(path.read_bytes())


# --- the servers ------------------------------------------------------------------------------------------------------


@contextmanager
def _instance(model: Path, home: Path) -> Iterator[int]:
    from laptop.hosting_process import Instance

    home.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    instance = Instance("bench", "AllTraffic", model, environment, lambda *_: None)
    instance.start()
    try:
        if not instance.wait_healthy(20.0):
            raise RuntimeError("the model server did not start")
        yield instance.port
    finally:
        instance.stop(drain=False)


@contextmanager
def _laptop(model: Path) -> Iterator[int]:
    from laptop.server import running

    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    read = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bench/*"}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(model, arcname=".")
    with running() as account:
        iam = account.client("iam")
        role = iam.create_role(RoleName="bench", AssumeRolePolicyDocument=_policy(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName="bench", PolicyName="read", PolicyDocument=_policy(read))
        s3 = account.client("s3")
        s3.create_bucket(Bucket="bench")
        s3.put_object(Bucket="bench", Key="model.tar.gz", Body=packed.getvalue())
        sagemaker = account.client("sagemaker")
        container = {"Image": IMAGE, "ModelDataUrl": "s3://bench/model.tar.gz"}
        sagemaker.create_model(ModelName="bench", ExecutionRoleArn=role, PrimaryContainer=container)
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": "bench",
            "InstanceType": "ml.c5.large",
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(EndpointConfigName="bench", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="bench", EndpointConfigName="bench")
        while (described := sagemaker.describe_endpoint(EndpointName="bench"))["EndpointStatus"] == "Creating":
            time.sleep(0.05)
        if described["EndpointStatus"] != "InService":
            raise RuntimeError(described["FailureReason"])
        yield account.port


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@contextmanager
def _script(kind: str, model: Path) -> Iterator[int]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.serving", kind, str(model)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(5)


def _serve_stdlib(model_dir: str, *, tuned: bool) -> None:
    """What people write: http.server around the model; `tuned` buffers writes and switches Nagle's algorithm off."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    sys.path.insert(0, str(Path(model_dir, "code")))
    import inference

    model = inference.model_fn(model_dir)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536 if tuned else 0
        disable_nagle_algorithm = tuned

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, content, kind = inference.answer(model, body, "application/json", "application/json")
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def _serve_constant() -> None:
    import uvloop

    reply = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"

    class Replies(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(reply)

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Replies, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    uvloop.run(serve())


# --- the load ---------------------------------------------------------------------------------------------------------


def _load(port: int, path: str, seconds: float) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.serving", "--load", str(port), path, str(seconds)]
    return dict(json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout))


class Client(asyncio.Protocol):
    """Sends the same request again as soon as the answer is complete, until the time is over."""

    def __init__(self, request: bytes, deadline: float, done: asyncio.Future[None]) -> None:
        self.request, self.deadline, self.done = request, deadline, done
        self.seconds: list[float] = []
        self.errors = 0
        self.received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._send()

    def _send(self) -> None:
        self.sent = time.perf_counter()
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.received = self.received + data if self.received else data
        head, separator, body = self.received.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head):
            return
        self.received = b""
        now = time.perf_counter()
        self.seconds.append(now - self.sent)
        self.errors += head[9:12] != b"200"
        if now < self.deadline:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.errors += 1
            self.done.set_result(None)


def _length(head: bytes) -> int:
    lower = head.lower()
    begin = lower.index(b"content-length:") + 15
    end = lower.find(b"\r", begin)
    return int(lower[begin : end if end >= 0 else None])


async def _run_load(port: int, path: str, seconds: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\naccept: application/json\r\n"
        f"authorization: {AUTHORIZATION}\r\ncontent-length: {len(BODY)}\r\n\r\n"
    )
    began = time.perf_counter()
    clients = [Client(head.encode() + BODY, began + seconds, loop.create_future()) for _ in range(CLIENTS)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.wait_for(asyncio.gather(*(client.done for client in clients)), seconds + 30)
    took = time.perf_counter() - began
    times = sorted(one * 1000 for client in clients for one in client.seconds)
    return {
        "per_second": len(times) / took,
        "p50_ms": times[len(times) // 2],
        "p99_ms": times[int(len(times) * 0.99)],
        "errors": sum(client.errors for client in clients),
    }


def main() -> None:
    match sys.argv[1:]:
        case ["--load", port, path, seconds]:
            import uvloop

            print(json.dumps(uvloop.run(_run_load(int(port), path, float(seconds)))))
        case ["--constant", _]:
            _serve_constant()
        case ["--default", model_dir]:
            _serve_stdlib(model_dir, tuned=False)
        case ["--buffered", model_dir]:
            _serve_stdlib(model_dir, tuned=True)
        case _:
            from bench.figures import show

            show("serving", measure())


if __name__ == "__main__":
    main()
