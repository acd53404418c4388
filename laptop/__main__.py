"""`python -m laptop [--port 4566] [--at MOMENT]`: the platform on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
import threading
import traceback
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException

from laptop.errors import ServiceError
from laptop.server import Server
from mlplatform import names

DEFAULT_PORT = 4566


def main(arguments: list[str] | None = None) -> int:
    """Runs until SIGINT or SIGTERM. Exit code 1 if it can't begin so, or the stack can't be deployed."""
    gc.disable()  # what is loaded and deployed stays: looking at it again and again takes a tenth of the start
    parser = argparse.ArgumentParser(prog="laptop", description="The platform's AWS account on this machine.")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT", str(DEFAULT_PORT)))
    parser.add_argument("--at", help="the moment at which its clock begins, such as 2026-12-01T10:01; UTC unless said")
    given = parser.parse_args(arguments)
    port = given.port
    try:
        at = None if given.at is None else datetime.fromisoformat(given.at)
        server = Server(port, at if at is None or at.tzinfo else at.replace(tzinfo=UTC))
    except ValueError as error:
        print(f"The clock can't begin at {given.at}: {error}", file=sys.stderr)
        return 1
    except OverflowError:
        print(f"Port {port} can't be used: a port is 0 to 65535. For example: make up PORT=4600.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Port {port} can't be used: {_why(port, error)} To take another: make up PORT=N.", file=sys.stderr)
        return 1
    stopped = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: stopped.set())
    deployed: list[int] = []

    def deploy() -> None:
        try:
            server.start()
            _deploy(server)
            deployed.append(0)
            print(_welcome(server.account.url, server.account.port), flush=True)
        except ServiceError as error:
            print(f"The stack can't be deployed: {error}", file=sys.stderr)
            stopped.set()
        except Exception:
            if not stopped.is_set():  # Ctrl-C while deploying breaks calls in flight; that is no news
                traceback.print_exc()
            stopped.set()

    # On a thread of its own, so that Ctrl-C is heard while the stack is being deployed.
    threading.Thread(target=deploy, name="deploy", daemon=True).start()
    # A signal may reach another thread, as it does beside a debugger; this one hears of it when it wakes.
    while not stopped.wait(1.0):
        pass
    server.stop()
    return 0 if deployed else 1


def _why(port: int, error: OSError) -> str:
    """Two sentences at most: a laptop that runs already can be used as it is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_laptop/health", timeout=2) as answer:
            json.load(answer)["status"]
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return f"{error}. Stop what uses it."
    return f"a laptop runs there already, with its console at http://127.0.0.1:{port}."


def _welcome(url: str, port: int) -> str:
    """The first line is for programs."""
    variable = "" if port == DEFAULT_PORT else f"PORT={port} "
    return (
        f"ready {url}\n"
        f"The console: {url}\n"
        f"Next, in another terminal: {variable}.venv/bin/mlp --laptop drop YOUR.csv --follow\n"
        "Ctrl-C here ends it, and nothing is kept."
    )


def _deploy(server: Server) -> None:
    from laptop.stack import NAME, deploy  # here, so that a port in use is told at once

    account = server.account
    # The notifier reads its webhook from this parameter; the laptop's own route stands in for Slack.
    account.stack = NAME
    account.client("ssm").put_parameter(
        Name=names.slack_webhook(NAME), Value=f"{account.url}/_laptop/slack", Type="SecureString"
    )
    account.outputs = deploy(account)
    gc.freeze()
    gc.enable()
    account.ready = True


if __name__ == "__main__":
    # Daemon threads may hold locks of the interpreter; the services are already stopped by now.
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
