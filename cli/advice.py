"""`mlp costs advice` and `mlp costs apply N`: what would make the bill smaller, and doing it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import prices
from mlplatform.aws_advice import read_advice_facts
from mlplatform.aws_calls import refused
from mlplatform.errors import AwsError
from mlplatform.recommendations import AdviceFacts, Recommendation, recommend, total

console = Terminal(soft_wrap=True, highlight=False, markup=False)


def caller(connection: Connection) -> Callable[..., dict[str, Any]]:
    """One AWS call by service, operation and parameters, as the layer makes them. Raises AwsError."""
    clients: dict[str, Any] = {}

    def call(service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            client = clients.setdefault(service, None) or connection.client(service)
            clients[service] = client
            return getattr(client, operation)(**parameters)  # type: ignore[no-any-return]
        except ClientError as error:
            raise refused(service, error) from error
        except BotoCoreError as error:
            raise AwsError(service, operation, type(error).__name__, str(error)) from error

    return call


def described_stack(connection: Connection) -> dict[str, Any]:
    """Raises CommandError when there is no such stack."""
    assert connection.outputs is not None  # says what to do where there is no stack
    stack: dict[str, Any] = connection.client("cloudformation").describe_stacks(StackName=connection.stack)["Stacks"][0]
    return stack


def look(connection: Connection) -> tuple[AdviceFacts, tuple[Recommendation, ...]]:
    """The facts of the account as they are now, and what follows from them."""
    stack = described_stack(connection)
    given = {one["ParameterKey"]: one["ParameterValue"] for one in stack.get("Parameters", ())}
    facts = read_advice_facts(
        caller(connection),
        stack=connection.stack,
        region=connection.client("sagemaker").meta.region_name,
        now=connection.now(),
        office_hours=given["OfficeHours"],
        time_zone=given["TimeZone"],
    )
    return facts, recommend(facts, prices)


def advice(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """What would make the bill smaller, in dollars a month, the largest first.

    Example: `mlp costs advice`
    """
    facts, found = look(context.obj)
    if as_json:
        shown = [{**asdict(one), "key": one.key, "appliable": one.appliable} for one in found]
        document = {"recommendations": shown, "total_usd_per_month": total(found), "not_looked_at": facts.missing}
        sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")
        return
    for one in found:
        _show(one)
    if found:
        console.print(
            f"Together up to ${total(found):,.2f} a month; of several about one thing only the best is counted."
        )
        if any(one.appliable for one in found):
            console.print(
                "Those with a star can be done for you: mlp costs apply NUMBER shows how, and changes nothing."
            )
    else:
        console.print("Nothing to advise: what is there is used, and no larger than it needs to be.")
    if facts.missing:
        console.print(f"Not looked at: {'; '.join(facts.missing)}.")


def apply(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="The recommendation's number in `mlp costs advice`.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, it is only shown.")] = False,
    expect: Annotated[str, typer.Option(help="Only if the number still means this one; the dry run says it.")] = "",
) -> None:
    """Do what a recommendation says, where the platform can; a dry run unless --yes.

    Example: `mlp costs apply 2`, `mlp costs apply 2 --yes`
    """
    connection: Connection = context.obj
    _, found = look(connection)
    chosen = next((one for one in found if one.number == number), None)
    if chosen is None:
        raise CommandError(f"There is no recommendation {number}; mlp costs advice lists {len(found)}.")
    if expect and chosen.key != expect:
        raise CommandError(f"Number {number} is another recommendation by now: {chosen.title}. Look at the list again.")
    _show(chosen)
    if not chosen.appliable:
        raise CommandError("This one needs a person; the line after -> says what to do.")
    call = caller(connection)
    for one in chosen.calls:
        console.print(f"   {'doing' if yes else 'would do'}: {one}")
        if yes:
            try:
                call(one.service, one.operation, **one.request)
            except AwsError as error:
                raise CommandError(f"{error}. What was done before this stays done; the rest was left.") from error
    if yes:
        console.print("done")
    else:
        console.print(f"Nothing was changed. To do it: mlp costs apply {number} --yes --expect {chosen.key}")


def _show(one: Recommendation) -> None:
    star = "*" if one.appliable else " "
    console.print(f"{one.number:>2}{star} ${one.usd_per_month:>9,.2f}  {one.title}  ({one.confidence} confidence)")
    console.print(f"      {one.evidence}")
    console.print(f"      -> {one.how}")
