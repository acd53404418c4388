"""One hosting instance: a process that answers GET /ping and POST /invocations with a model artifact's own code.

Started by laptop/hosting.py as a plain script with `-P`, so that no module of the laptop can shadow a module of the
artifact. It honours what the PyTorch inference container promises to a model (SageMaker developer guide, "Use Your
Own Inference Code with Hosting Services"; SageMaker inference toolkit): the artifact lies in /opt/ml/model (here:
the extracted folder), SAGEMAKER_PROGRAM names the module in SAGEMAKER_SUBMIT_DIRECTORY, `/ping` answers 200 once the
model is loaded. The server is uvicorn with httptools and uvloop and no framework: as fast as granian within a few
percent, 2.6 times FastAPI on the same uvicorn, tens of times the standard library's default server, and the laptop
runs on it anyway (one process, one row of JSON, 16 clients; bench/serving.py measures it beside that library).
"""

from __future__ import annotations

import argparse
import importlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

CONTAINER_MODEL_DIR = "/opt/ml/model"
Answer = Callable[[bytes, str, str], tuple[int, bytes, str]]


def program(model_dir: Path, environment: dict[str, str]) -> tuple[Path, str]:
    """The folder and the module name of the model's code, as the container's environment variables say."""
    submitted = environment.get("SAGEMAKER_SUBMIT_DIRECTORY", f"{CONTAINER_MODEL_DIR}/code")
    if submitted != CONTAINER_MODEL_DIR and not submitted.startswith(f"{CONTAINER_MODEL_DIR}/"):
        raise SystemExit(f"SAGEMAKER_SUBMIT_DIRECTORY must lie in {CONTAINER_MODEL_DIR}, not at {submitted}")
    folder = model_dir / submitted[len(CONTAINER_MODEL_DIR) :].lstrip("/")
    file = folder / environment.get("SAGEMAKER_PROGRAM", "inference.py")
    if not file.is_file():
        raise SystemExit(f"the model artifact has no {file.relative_to(model_dir)}")
    return file.parent, file.stem


def load(model_dir: Path, environment: dict[str, str]) -> Answer:
    """The model's answering function. Its errors come out as they are: an instance that can't load doesn't start."""
    folder, name = program(model_dir, environment)
    sys.path.insert(0, str(folder))
    code = importlib.import_module(name)
    model = code.model_fn(str(model_dir))
    if hasattr(code, "answer"):
        own = code.answer

        def answer(body: bytes, content_type: str, accept: str) -> tuple[int, bytes, str]:
            status, content, answered_type = own(model, body, content_type, accept)
            return int(status), bytes(content), str(answered_type)

        return answer

    def transform(body: bytes, content_type: str, accept: str) -> tuple[int, bytes, str]:
        if hasattr(code, "transform_fn"):
            result = code.transform_fn(model, body, content_type, accept)
        else:
            result = code.output_fn(code.predict_fn(code.input_fn(body, content_type), model), accept)
        content, answered_type = result if isinstance(result, tuple) else (result, accept)
        return 200, content if isinstance(content, bytes) else str(content).encode(), str(answered_type)

    return transform


def application(answer: Answer) -> Callable[..., Awaitable[None]]:
    """The raw ASGI application. Predictions run one after the other, as a container's single worker does."""

    async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]) -> None:
        message = await receive()
        body: bytes = message["body"]
        if message.get("more_body"):
            parts = [body]
            while message.get("more_body"):
                message = await receive()
                parts.append(message.get("body", b""))
            body = b"".join(parts)
        path = scope["path"]
        if path == "/invocations" and scope["method"] == "POST":
            content_type = accept = "application/json"
            for name, value in scope["headers"]:
                if name == b"content-type":
                    content_type = value.decode("latin-1")
                elif name == b"accept":
                    accept = value.decode("latin-1")
            try:
                status, content, answered_type = answer(body, content_type, accept)
            except Exception as error:
                traceback.print_exc()
                # the inference toolkit lets a handler choose the status by an attribute of its exception
                status = int(getattr(error, "status_code", 500))
                content, answered_type = str(error).encode(), "text/plain"
        elif path == "/ping":
            status, content, answered_type = 200, b"", "application/json"
        else:
            status, content, answered_type = 404, b"", "text/plain"
        headers = [
            (b"content-type", answered_type.encode("latin-1")),
            (b"content-length", str(len(content)).encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def _leave_with_parent() -> None:
    # standard input is a pipe that only the laptop's process holds open: its end is the laptop's end, however it came
    while os.read(0, 1024):
        pass
    os._exit(0)


def main() -> None:
    import uvicorn

    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model-dir", type=Path, required=True)
    arguments.add_argument("--socket", type=int, required=True, help="an inherited listening socket")
    chosen = arguments.parse_args()
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    began = time.perf_counter()
    answer = load(chosen.model_dir.resolve(), dict(os.environ))
    print(f"model loaded in {time.perf_counter() - began:.3f} s", flush=True)
    config = uvicorn.Config(
        application(answer),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=3600,  # the router keeps its connections; the instance never closes first
        timeout_graceful_shutdown=60,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=chosen.socket)])


if __name__ == "__main__":
    main()
