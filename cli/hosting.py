"""`mlp hosting`: what each kind of hosting would cost for an endpoint's traffic, and which one it deserves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Annotated, Any

import typer
from botocore.exceptions import ClientError
from rich.table import Table

from cli import costs, hours
from cli.connection import CommandError, Connection
from cli.serving import app_of
from cli.terminal import Terminal
from mlplatform import instances, kinds, names, prices
from mlplatform.aws_traffic import WINDOW_DAYS, read_traffic
from mlplatform.choosing import workload_of
from mlplatform.dollars import precise
from mlplatform.errors import DataRejected, UnknownPrice
from mlplatform.experiments import wanted_test
from mlplatform.facts import DATASET_TAG, Endpoint, HostingKind, Traffic
from mlplatform.hosting import (
    LONGEST_WAIT_SECONDS,
    Choice,
    Option,
    Promise,
    Workload,
    duration,
    measured_in_gib,
    plan_hosting,
    requests_per_day,
)
from mlplatform.job_spec import HOSTING_KEYS, parse_job_spec
from mlplatform.moving import moves, not_allowed
from mlplatform.settings import Settings
from mlplatform.stand_ins import MOVE

_KINDS = ", ".join(HostingKind)
console = Terminal(highlight=False)


@dataclass(frozen=True)
class CurrentHosting:
    """How an endpoint is hosted, running or parked, as far as a decision about its hosting needs it."""

    name: str
    instance_type: str
    tags: Mapping[str, str]
    model: str | None
    variants: int
    not_serverless: str
    kind: HostingKind
    arn: str
    running: Endpoint | None  # None where it is parked for the night
    tested: bool  # an A/B test runs on it, or is to
    memory_gib: Decimal | None = None  # a serverless variant's, or what a copy reserves that scales to zero


def hosting(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="A dataset or an endpoint.", metavar="DATASET|ENDPOINT")],
    requests_per_day_: Annotated[
        float | None, typer.Option("--requests-per-day", min=0, help="Instead of what was seen.")
    ] = None,
    latency_ms: Annotated[
        float | None, typer.Option(min=0, help="What a usual request may take; by default nothing is promised.")
    ] = None,
    first_ms: Annotated[
        float, typer.Option(min=0, help="What a request after a pause may wait; by default as long as a client does.")
    ] = float(LONGEST_WAIT_SECONDS * 1000),
    memory_gb: Annotated[
        float | None, typer.Option(min=0, help="What the model needs; by default what it took, and at least 2.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    move_to: Annotated[
        str | None, typer.Option(help=f"Make it another kind ({_KINDS}); memory by --memory-gb.", metavar="KIND")
    ] = None,
    max_concurrency: Annotated[
        int | None, typer.Option(min=1, max=200, help="With --move-to serverless: requests at a time.")
    ] = None,
) -> None:
    """What real-time, serverless, scale to zero and asynchronous hosting would cost, and which one to take.

    Example: `mlp hosting churn`, `mlp hosting churn --requests-per-day 500`, `mlp hosting churn --move-to serverless`
    """
    connection: Connection = context.obj
    kind = None if move_to is None else kind_called(move_to)
    with console.status("looking at the endpoint"):
        current, settings = find(connection, dataset), connection.settings
    if kind is not None:
        sizes = {"memory_gb": None if memory_gb is None else int(memory_gb), "max_concurrency": max_concurrency}
        move(connection, current, kind, {key: one for key, one in sizes.items() if one}, settings)
        return
    with console.status("reading what was measured"):
        measured = read_traffic(connection.call, current.name, current.kind, connection.now())
    workload = workload_of(
        current.tags,
        names.hosting_wishes(current.tags),
        current.instance_type,
        measured,
        settings,
        per_day=None if requests_per_day_ is None else Decimal(str(requests_per_day_)),
        measured_in=measured_in_gib(current.kind, current.instance_type, current.memory_gib),
        memory_gb=None if memory_gb is None else Decimal(str(memory_gb)),
        sample=sample(connection, current) or b"",
        not_serverless=current.not_serverless,
    )
    promise = Promise(
        None if latency_ms is None else Decimal(str(latency_ms)) / 1000,
        Decimal(str(first_ms)) / 1000,
    )
    try:
        choice = plan_hosting(workload, promise, prices)
    except UnknownPrice as error:
        raise CommandError(f"{error}") from error
    seen = len(measured.requests_per_hour) if requests_per_day_ is None else None
    if as_json:
        sys.stdout.write(json.dumps(_document(current, workload, seen, choice), indent=1, default=str) + "\n")
        return
    _show(current, workload, measured, seen, choice)
    if current.variants > 1:
        console.print("An A/B test runs: the requests are the live model's alone; its challenger's are left out.")
    moving = under_way(connection, current, settings)
    if moving is not None:
        console.print(moving, style="yellow", markup=False)


def kind_called(text: str) -> HostingKind:
    """Raises CommandError."""
    try:
        return HostingKind(text.lower())
    except ValueError:
        raise CommandError(f"{text} is no kind of hosting; there are {_KINDS}.") from None


def find(connection: Connection, name: str) -> CurrentHosting:
    """What has no instances is compared with the type that it would have in real time. Raises CommandError."""
    there = hours.find(connection, name)
    endpoint, variants, one = there.hosted, there.variants, there.endpoint
    usual = names.hosting_wishes(endpoint.tags).get("instance_type", connection.settings.hosting_instance_type)
    kind = next((str(one["InstanceType"]) for one in variants if one.get("InstanceType")), usual)
    why = f"{kind} has a GPU, which serverless has not" if instances.is_gpu(kind) else ""
    if len(variants) > 1:
        why = why or "it has several variants, and serverless has one"
    model, hosted, memory_gib = endpoint.tags.get(names.WANTED_TAG), HostingKind.REAL_TIME, None
    if one is not None and one.config_name:
        model, hosted = one.model_name or model, one.kind
        memory_gib = Decimal(one.memory_gb or kinds.hosting(endpoint.tags, connection.settings).memory_gib)
        config = connection.sagemaker.describe_endpoint_config(EndpointConfigName=one.config_name)
        if config.get("DataCaptureConfig", {}).get("EnableCapture"):
            why = why or "it captures data, which serverless does not"
        placed = config if model is None else {**connection.sagemaker.describe_model(ModelName=model), **config}
        if placed.get("VpcConfig") or placed.get("EnableNetworkIsolation"):
            why = why or "its model is in a VPC or isolated from the network, which serverless does not offer"
    return CurrentHosting(
        name=endpoint.name,
        instance_type=kind,
        tags=endpoint.tags,
        model=model,
        variants=len(variants),
        not_serverless=why,
        kind=hosted,
        arn=there.arn,
        running=one,
        tested=wanted_test(endpoint.tags) is not None or (one is not None and one.challenger is not None),
        memory_gib=memory_gib,
    )


def move(
    connection: Connection, current: CurrentHosting, kind: HostingKind, sizes: Mapping[str, int], settings: Settings
) -> None:
    """Writes the wish, and has configure-autoscaling begin. Raises CommandError for what can't be."""
    dataset = current.name.removeprefix(f"{connection.stack}-")
    if current.running is None:
        raise CommandError(f"{current.name} is asleep. To wake it and move it then: mlp snooze {dataset} --hours 2")
    if current.tested:
        raise CommandError(
            f"An A/B test runs on {current.name}, and a move would end it. End it first: mlp ab {dataset} --drop, or "
            f"mlp ab {dataset} --promote."
        )
    under_way = current.tags.get(names.LOOK_TAG) == MOVE
    if kind is current.kind and not under_way:
        raise CommandError(f"{current.name} is {kind.value} already.")
    if kind is HostingKind.SERVERLESS and current.not_serverless:
        raise CommandError(f"{current.name} can't be serverless: {current.not_serverless}.")
    try:
        wishes = parse_job_spec(json.dumps({"hosting": {"kind": kind.value, **sizes}}).encode()).hosting
    except DataRejected as error:
        raise CommandError(error.reason.replace("job.json", "the command")) from error
    was = current.tags.get(names.HOSTING_TAG, "")
    kept = {key: value for key, value in names.hosting_wishes(current.tags).items() if key in HOSTING_KEYS[kind]}
    if kind is not current.kind:
        kept.pop("memory_gb", None)  # of another kind it means something else
    why = kinds.refusal({**kept, **wishes}, settings)
    if why is not None:
        raise CommandError(f"The command {why}.")
    tags = names.hosting_tag({**kept, **wishes}) | {names.LOOK_TAG: MOVE}
    if kind is not current.kind:
        wanted = kinds.hosting(tags, settings, current.running)
        forbids = not_allowed(current.running, wanted, app_of(connection).aws.quotas())
        if forbids:
            raise CommandError(f"{current.name} can't become {kind.value}: {forbids}.")
    if not under_way:
        tags[names.BEFORE_TAG] = was or f"kind={current.kind.value}"
    connection.sagemaker.add_tags(ResourceArn=current.arn, Tags=names.tag_list(tags))
    console.print(connection.look_again(current.name), markup=False)
    console.print(f"How far it has come: mlp hosting {dataset}", markup=False)


def under_way(connection: Connection, current: CurrentHosting, settings: Settings) -> str | None:
    """How far a move is, or that one is wished for; None where neither is so."""
    name, stand_in = current.name, names.stand_in(current.name)
    found = connection.endpoint(stand_in)
    if found is None or found["EndpointStatus"] == "Deleting":
        if current.running is None or not moves(current.running, settings):
            return None
        wanted = kinds.hosting(current.tags, settings, current.running).kind.value
        first = f" first {stand_in}, of an earlier move, goes;" if found else ""
        return f"{name} is to become {wanted}:{first} the next tick goes on, within a quarter of an hour."
    if current.running is not None and not moves(current.running, settings):
        return f"{name} has moved; {stand_in} goes when nobody has called it for a quarter of an hour."
    return (
        f"{name} moves: {stand_in} is {found['EndpointStatus']}. Call that one while {name} is made anew; it goes "
        "when nobody has called it for a quarter of an hour."
        + (f" {name} stays until its queue is empty." if current.kind is HostingKind.ASYNCHRONOUS else "")
    )


def sample(connection: Connection, current: CurrentHosting) -> bytes | None:
    """The live model's stored request and answer; None where it has none."""
    if current.model is None:
        return None
    dataset = current.name.removeprefix(f"{connection.stack}-")
    try:
        return costs.read(connection, f"{names.model_card_prefix(dataset, current.model)}sample.json")
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"NoSuchKey", "404"}:
            raise
        return None


def _show(current: CurrentHosting, workload: Workload, measured: Traffic, seen: int | None, choice: Choice) -> None:
    daily = requests_per_day(workload)
    if seen is None:
        source = "as declared"
    elif seen:
        total = sum(measured.requests_per_hour, Decimal(0))
        source = f"{total:,.0f} seen in {seen} hour{'' if seen == 1 else 's'} of running"
    else:
        source = f"none seen in {WINDOW_DAYS} days; declare them with --requests-per-day"
    took = "assumed" if measured.model_seconds is None else "measured"
    console.print(
        f"{current.name}: {daily:,.0f} requests a day ({source}), {duration(workload.model_seconds)} each in the model "
        f"({took}), open {workload.hours_per_week:g} of 168 hours a week"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("  hosting", no_wrap=True)
    table.add_column("on", overflow="fold")
    for column in ("a month", "request", "first", "pauses", "errors"):
        table.add_column(column, justify="right", no_wrap=True)
    shown = [option for option in choice.options if _is_shown(option, choice)]
    for option in shown:
        table.add_row(*_row(option, option is choice.chosen))
    console.print(table, soft_wrap=False)
    console.print(
        "> is what this traffic would take; first: a request after a pause. Pauses, and minutes in which callers get "
        "errors, are those of a month.",
        style="dim",
    )
    for option in shown:
        if option.against:
            console.print(f"Not {option.kind.value}: {'; '.join(option.against)}.")
    if current.not_serverless:
        console.print(f"Not serverless: {current.not_serverless}.")
    console.print(choice.reason[0].upper() + choice.reason[1:])
    for line in _caveats(workload, seen, measured.setup_seconds is not None):
        console.print(line, style="dim")
    console.print(_switching(current, choice), markup=False)


def _switching(current: CurrentHosting, choice: Choice) -> str:
    if choice.chosen is None or choice.chosen.kind is current.kind:
        return f"It is hosted {current.kind.value} now. docs/hosting.md has what the kinds are, and how one moves."
    memory = f" --memory-gb {choice.chosen.gb}" if choice.chosen.gb else ""
    dataset = current.tags.get(DATASET_TAG, current.name)
    return (
        f"It is hosted {current.kind.value} now. To move it: `mlp hosting {dataset} "
        f"--move-to {choice.chosen.kind.value}{memory}`. What callers see meanwhile: docs/hosting.md."
    )


def _is_shown(option: Option, choice: Choice) -> bool:
    """Of the serverless sizes, the best one: the others are in --json."""
    return option.gb is None or option is next(one for one in choice.options if one.gb is not None)


def _row(option: Option, chosen: bool) -> tuple[str, ...]:
    sleeps = option.first_seconds > option.latency_seconds
    return (
        f"{'>' if chosen else ' '} {option.kind.value}",
        option.what.partition(",")[0],  # its hours stand above
        precise(option.usd_per_month),
        duration(option.latency_seconds),
        duration(option.first_seconds),
        f"{option.pauses_per_month:,.0f}" if sleeps else "0",
        f"{option.failing_minutes_per_month:,.0f} min" if round(option.failing_minutes_per_month) else "none",
    )


def _caveats(workload: Workload, seen: int | None, measured_start: bool) -> Iterator[str]:
    if seen is not None and 0 < seen < 7 * 24:
        yield "Seen for less than a week of hours: the month is extrapolated from them."
    yield (
        f"The model is taken to need {workload.memory_gb:.1f} GB. {'Measured' if measured_start else 'Assumed'}: cold "
        f"starts of {duration(workload.cold_start_seconds)}. Assumed: they come after five quiet minutes, serverless "
        "CPUs are as fast as the instance's from 2 GB on."
    )


def _document(current: CurrentHosting, workload: Workload, seen: int | None, choice: Choice) -> dict[str, Any]:
    return {
        "endpoint": current.name,
        "requests_per_day": requests_per_day(workload),
        "hours_seen": seen,
        "workload": asdict(workload),
        "options": [{**asdict(option), "meets": option.meets} for option in choice.options],
        "chosen": asdict(choice.chosen) if choice.chosen else None,
        "reason": choice.reason,
        "break_even_requests_per_day": choice.break_even_requests_per_day,
        "hosted": current.kind.value,
        "switching": _switching(current, choice),
    }
