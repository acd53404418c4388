"""`mlp ab`: two models side by side on one endpoint, what each of them does, and which of them stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from cli import hours, models
from cli.connection import CommandError, Connection
from cli.serving import app_of
from cli.terminal import Terminal
from mlplatform import names
from mlplatform.experiments import AbTest, bad_share, share_of, wanted_test
from mlplatform.facts import CHALLENGER, Endpoint
from mlplatform.restoring import duration

if TYPE_CHECKING:
    from cli.variants import Seen

console = Terminal(highlight=False)


def ab(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset whose endpoint is meant.")],
    package: Annotated[
        str | None, typer.Argument(help="The challenger: a number of `mlp models`, such as 3 or churn/3, or an ARN.")
    ] = None,
    weight: Annotated[float | None, typer.Option(help="Its share of the traffic, 0.1 by default.")] = None,
    promote: Annotated[bool, typer.Option("--promote", help="Approve it: it becomes the only model.")] = False,
    drop: Annotated[bool, typer.Option("--drop", help="End the test; the live model serves alone.")] = False,
    outcomes: Annotated[
        Path | None, typer.Option(help="A table with labels that are known now, which both models are asked for.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="The label's column in it, if it is another than in training.")
    ] = None,
    reason: models.Reason = "",
) -> None:
    """Try a second model beside the live one, with a share of the traffic; compare them; promote it or drop it.

    Example: `mlp ab churn 3 --weight 0.1`, `mlp ab churn`, `mlp ab churn --outcomes labelled.csv`, `mlp ab churn
    --promote`
    """
    connection: Connection = context.obj
    dataset = dataset.removeprefix(f"{connection.stack}-")
    asked = [name for name, given in (("--promote", promote), ("--drop", drop), ("--outcomes", outcomes)) if given]
    if len(asked) > 1 or (asked and (package or weight is not None)):
        raise CommandError(f"{' and '.join(asked)}: give one of them alone.")
    if promote:
        _promote(connection, dataset, reason)
    elif drop:
        _ask(connection, {"dataset": dataset, "action": "drop"})
    elif outcomes is not None:
        _compare(connection, dataset, outcomes, label)
    elif package is not None:
        arn, share = _arn(connection, dataset, package), 0.1 if weight is None else weight
        _ask(connection, {"dataset": dataset, "action": "start", "package": arn, "weight": share})
        console.print(f"how it goes: mlp ab {dataset}")
    elif weight is not None:
        _ask(connection, {"dataset": dataset, "action": "weigh", "weight": weight})
    else:
        _show(connection, dataset)


def _ask(connection: Connection, event: dict[str, Any]) -> None:
    """Has the platform decide, and tells what it came to. Raises CommandError where it refuses."""
    bad = bad_share(event["weight"]) if "weight" in event else None
    if bad is not None:
        raise CommandError(bad)
    [decision] = connection.decide("compare-models", event)
    if decision["decision"] == "Refuse":
        raise CommandError(decision["reason"])
    console.print(decision["reason"], markup=False)


def _arn(connection: Connection, dataset: str, package: str) -> str:
    """From 3, churn/3, ml-platform-churn/3 or an ARN. Raises CommandError."""
    if package.startswith("arn:"):
        return package
    _, chosen = models.find(connection, f"{dataset}/{package}" if package.isdecimal() else package)
    if chosen is None:
        raise CommandError(f"{package} names no model; write such as 3, or {dataset}/3.")
    return chosen.arn


def _promote(connection: Connection, dataset: str, reason: str) -> None:
    """An approval like any other: the registry's event has it deployed."""
    group = models.read_group(connection, dataset)
    if group.challenger is None or group.live is None:
        raise CommandError(f"No A/B test runs on {dataset}.")
    because = reason or f"Promoted from the A/B test with {dataset}/{group.live.version}"
    models.release(connection, group, group.challenger, because, {"approved_by": models.who(connection)})


# ---- what each of the two does ----


def _show(connection: Connection, dataset: str) -> None:
    from cli.variants import findings, measure  # who only starts or ends a test does not pay for scipy

    endpoint, test = _running(connection, dataset)
    live, challenger = _spoken(connection, dataset, endpoint, test)
    there, wanted = endpoint.challenger, f"{test.weight * 100:g} % of the traffic of {endpoint.name}"
    if there is None:
        console.print(f"{challenger} is to get {wanted}, which is {endpoint.status} now.")
        return
    if endpoint.busy or not there.weight:
        console.print(
            f"{challenger} gets {wanted} when that is InService (it is {endpoint.status}) and it has answered."
        )
    now, since = connection.now(), datetime.fromisoformat(test.since)
    console.print(
        f"{live} is live, and {challenger} beside it with {share_of(endpoint) * 100:.3g} % of the traffic of "
        f"{endpoint.name}, since {since:%Y-%m-%d %H:%M} UTC ({duration(max(now - since, timedelta(0)))})"
    )
    both = measure(connection, endpoint.name, since, now)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in (f"live, {live}", f"challenger, {challenger}"):
        table.add_column(name, justify="right")
    for what, cell in _rows(sum(one.requests for one in both)).items():
        table.add_row(what, *map(cell, both))
    counts = {one.name: str(one.instance_count) for one in endpoint.variants}
    table.add_row("instances", counts.get(names.VARIANT, ""), counts.get(CHALLENGER, ""))
    console.print(table)
    for line in findings(*both):
        console.print(line)
    console.print(
        f"Which of them is right more often this does not say: mlp ab {dataset} --outcomes labelled.csv. To end it: "
        f"mlp ab {dataset} --promote, or --drop."
    )


def _spoken(connection: Connection, dataset: str, endpoint: Endpoint, test: AbTest) -> tuple[str, str]:
    """The two models as people call them: churn/2 and churn/3."""
    group = models.read_group(connection, dataset)
    live = f"{dataset}/{group.live.version}" if group.live else str(endpoint.model_name)
    return live, f"{dataset}/{test.version}"


def _rows(total: int) -> dict[str, Callable[[Seen], str]]:
    def share(count: int, of: int) -> str:
        return f"{count:,} ({count / of * 100:.3g} %)" if of else f"{count:,}"

    def took(microseconds: float | None) -> str:
        return "" if microseconds is None else f"{microseconds / 1000:,.1f} ms"

    return {
        "requests": lambda one: share(one.requests, total),
        "failed (5xx)": lambda one: share(one.failed, one.requests),
        "refused (4xx)": lambda one: share(one.refused, one.requests),
        "latency, mean": lambda one: took(one.mean_microseconds),
        "latency, p99": lambda one: took(one.p99_microseconds),
    }


def _compare(connection: Connection, dataset: str, file: Path, label: str | None) -> None:
    from cli.labelled import compare  # as above

    endpoint, test = _running(connection, dataset)
    if endpoint.challenger is None or endpoint.status != "InService":
        raise CommandError(f"{dataset}/{test.version} can't be asked yet: {endpoint.name} is {endpoint.status}.")
    group = models.read_group(connection, dataset)
    trained = group.live.properties if group.live else {}
    for line in compare(connection, dataset, file, label, trained, _spoken(connection, dataset, endpoint, test)):
        console.print(line)


def _running(connection: Connection, dataset: str) -> tuple[Endpoint, AbTest]:
    """The endpoint, and the test that it runs or is to run. Raises CommandError."""
    name = connection.endpoint_name(dataset)
    endpoint = app_of(connection).aws.endpoint(name)
    if endpoint is None:
        until = hours.asleep(connection).get(name)
        if until:
            raise CommandError(f"{dataset} is asleep {until}. To wake it sooner: mlp snooze {dataset} --hours 2")
        raise CommandError(f"{dataset} has no endpoint. `mlp status {dataset}` says how far it has come.")
    test = wanted_test(endpoint.tags)
    if test is None:
        leaving = f" {endpoint.challenger.model_name} is leaving it." if endpoint.challenger else ""
        raise CommandError(
            f"No A/B test runs on {dataset}.{leaving} To start one: mlp ab {dataset} VERSION --weight 0.1; the "
            f"versions: mlp models {dataset}"
        )
    return endpoint, test
