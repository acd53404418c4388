"""`mlp loadtest`: how many requests a second one instance takes at a p99 bound, and the scaling target that follows."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cli import hosting
from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import names, prices
from mlplatform.dollars import money
from mlplatform.errors import UnknownPrice
from mlplatform.facts import HostingKind

console = Terminal(highlight=False)
MOST_CLIENTS = 256
# "Load testing your auto scaling configuration", SageMaker developer guide:
# SageMakerVariantInvocationsPerInstance = (MAX_RPS * SAFETY_FACTOR) * 60, and 0.5 is the factor to begin with.
SAFETY_FACTOR = Decimal("0.5")
GUIDE = "https://docs.aws.amazon.com/sagemaker/latest/dg/endpoint-scaling-loadtest.html"
_GROWS = 1.05  # less than 5 % more for twice the clients: more of them only wait longer
_BUSY = 0.9  # of a core: Python sends with one, and is then what is measured


@dataclass(frozen=True)
class Step:
    """What so many clients at once got for a while."""

    clients: int
    seconds: float
    latencies: tuple[float, ...]  # in seconds, of the answered
    errors: int
    instances: int  # that served it; 0 where their number changed meanwhile
    error: str = ""  # the first
    client_busy: float = 0  # how much of one core this program used, 0 to 1 and a little more

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float | None:
        """In seconds, by nearest rank; None where nothing was answered."""
        if not self.latencies:
            return None
        ranked = sorted(self.latencies)
        return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def loadtest(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A dataset or an endpoint.", metavar="DATASET|ENDPOINT")],
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="How long each step takes.")] = 10,
    p99_ms: Annotated[float, typer.Option(min=0.1, help="The slowest that 99 of 100 requests may be.")] = 200,
) -> None:
    """Find the rate that one instance takes, with more and more clients at once, and the scaling target for it.

    Sends the model's stored sample. Stops at the p99 bound, at the first error, when the rate grows no more, or when
    the fleet changes. It is real load on a real endpoint: callers feel it, and scaling may add instances, which cost.

    Example: `mlp loadtest churn --seconds 30 --p99-ms 100`
    """
    connection: Connection = context.obj
    serving = hosting.find(connection, dataset)
    if serving.kind is not HostingKind.REAL_TIME:
        raise CommandError(
            f"{serving.name} is {serving.kind.value}; how many requests an instance takes is measured in real time."
        )
    only = names.VARIANT if serving.variants > 1 else None
    if instances_now(connection, serving.name, only) == 0:
        raise CommandError(f"{serving.name} has no instance in service. `mlp status` says how far it is.")
    stored = hosting.sample(connection, serving)
    if stored is None:
        raise CommandError(f"The model of {serving.name} has no stored sample to send: it was not made by a drop.")
    body = json.dumps(json.loads(stored)["request"])
    _warn(connection, serving)
    client = connection.client(
        "sagemaker-runtime", retries={"total_max_attempts": 1}, max_pool_connections=MOST_CLIENTS
    )

    target = {"TargetVariant": only} if only else {}

    def ask() -> None:
        client.invoke_endpoint(EndpointName=serving.name, Body=body, ContentType="application/json", **target)[
            "Body"
        ].read()

    steps: list[Step] = []
    console.print(f"{'clients':>7}  {'requests/s':>10}  {'p50 ms':>8}  {'p99 ms':>8}  {'errors':>6}  {'instances':>9}")
    interrupted = False
    try:
        while (ended := ends(steps, p99_ms / 1000)) is None:
            clients = 2 ** len(steps)
            steps.append(run_step(ask, clients, seconds, lambda: instances_now(connection, serving.name, only)))
            console.print(_line(steps[-1]))
    except KeyboardInterrupt:
        ended, interrupted = "stopped by you", True
    console.print(f"Ended: {ended}.")
    console.print(propose(steps, p99_ms / 1000, names.hosting_wishes(serving.tags)))
    if interrupted:
        raise typer.Exit(130)


def ends(steps: Sequence[Step], bound: float) -> str | None:
    """Why no further step is worth it, or None. `bound` is in seconds."""
    if not steps:
        return None
    last = steps[-1]
    p99 = last.percentile(99)
    if last.errors:
        return f"{last.errors} request{'s' if last.errors > 1 else ''} failed, the first with: {last.error}"
    if not last.instances:
        return "the number of instances changed, so that a rate for each is not known any more"
    if p99 is None:
        return f"nothing was answered in {last.seconds:.1f} s"
    if p99 > bound:
        return f"the p99 of {p99 * 1000:.0f} ms is above {bound * 1000:g} ms"
    if len(steps) > 1 and last.per_second < steps[-2].per_second * _GROWS:
        return "twice the clients get hardly more answered, so this is the most"
    if last.clients >= MOST_CLIENTS:
        return f"{MOST_CLIENTS} clients are the most that this command has"
    return None


def best(steps: Sequence[Step], bound: float) -> Step | None:
    """The step with the most requests a second for each instance, among those without an error and within the bound."""
    kept = [
        step
        for step in steps
        if not step.errors and step.instances and (p99 := step.percentile(99)) is not None and p99 <= bound
    ]
    return max(kept, key=lambda step: step.per_second / step.instances, default=None)


def propose(steps: Sequence[Step], bound: float, wishes: dict[str, str]) -> str:
    """The target, how it comes about, and job.json's line, which keeps the other wishes that an endpoint's tag has."""
    found = best(steps, bound)
    if found is None:
        return f"No step kept {bound * 1000:g} ms without an error: there is nothing to propose."
    per_second = found.per_second / found.instances
    target = max(1, int(Decimal(str(per_second)) * SAFETY_FACTOR * 60))
    hosting_wishes: dict[str, Any] = {key: int(value) if value.isdecimal() else value for key, value in wishes.items()}
    line = json.dumps({**hosting_wishes, "invocations_per_instance": target})
    text = (
        f"One instance takes {per_second:.1f} requests a second within {bound * 1000:g} ms: {per_second:.1f} x "
        f"{SAFETY_FACTOR} (safety) x 60 = {target} invocations a minute as its scaling target.\n"
        f'In job.json, for the next drop: "hosting": {line}\nThe formula: {GUIDE}'
    )
    if found.client_busy >= _BUSY:
        text += (
            "\nThis program used a whole core to send that: the instance may take more. Several of them at once, or a "
            "larger machine near the endpoint, would tell."
        )
    return text


def run_step(ask: Callable[[], None], clients: int, seconds: float, count: Callable[[], int]) -> Step:
    """So many clients, each asking again as soon as it has its answer. The first call of each opens its connection and
    is not counted. All stop at the first error, and at Ctrl-C after the answers that are under way."""
    stop, lock = threading.Event(), threading.Lock()
    ready = threading.Barrier(clients + 1)
    latencies: list[float] = []
    failures: list[str] = []

    def one() -> None:
        own: list[float] = []
        try:
            ask()
        except (ClientError, BotoCoreError) as error:
            failures.append(str(error))
            stop.set()
        finally:
            ready.wait()
        while not stop.is_set():
            began = time.perf_counter()
            try:
                ask()
            except (ClientError, BotoCoreError) as error:
                failures.append(str(error))
                stop.set()
                break
            own.append(time.perf_counter() - began)
        with lock:
            latencies.extend(own)

    before = count()
    with ThreadPoolExecutor(clients) as pool:
        try:
            for _ in range(clients):
                pool.submit(one)
            ready.wait()
            began, used = time.perf_counter(), time.process_time()
            stop.wait(seconds)
        finally:
            stop.set()
            ready.abort()  # nobody waits at it any more, unless this was interrupted
    lasted = time.perf_counter() - began
    busy = (time.process_time() - used) / lasted
    after = count()
    return Step(
        clients,
        lasted,
        tuple(latencies),
        len(failures),
        before if before == after else 0,
        failures[0] if failures else "",
        busy,
    )


def instances_now(connection: Connection, endpoint: str, only: str | None = None) -> int:
    """How many instances serve it now, or one variant of it; 0 where it has none, or does not exist."""
    return sum(
        int(one.get("CurrentInstanceCount", 0))
        for one in (connection.endpoint(endpoint) or {}).get("ProductionVariants", ())
        if only in {None, one["VariantName"]}
    )


def _warn(connection: Connection, serving: hosting.CurrentHosting) -> None:
    region = str(connection.sagemaker.meta.region_name)
    try:
        price = f"at {money(prices.usd_per_hour(serving.instance_type, 'hosting', region))} an hour each"
    except UnknownPrice:
        price = "each at its price, which is not known here"
    console.print(
        f"This is real load on {serving.name} ({serving.instance_type}). Scaling may react while it runs and add "
        f"instances, {price}, which stay for a quarter of an hour or more; callers may wait. Ctrl-C stops it.",
        style="yellow",
    )
    if serving.variants > 1:
        console.print("An A/B test runs: the live model alone gets this load, and its instances are counted.")


def _line(step: Step) -> str:
    def milliseconds(percent: float) -> str:
        value = step.percentile(percent)
        return "-" if value is None else f"{value * 1000:.1f}"

    return (
        f"{step.clients:>7}  {step.per_second:>10.1f}  {milliseconds(50):>8}  {milliseconds(99):>8}  {step.errors:>6}  "
        f"{step.instances or 'changed':>9}"
    )
