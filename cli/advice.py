"""`mlp costs advice` and `mlp costs apply N`: what would make the bill smaller, and doing it."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict, replace
from typing import Annotated

import typer

from cli.connection import CommandError, Connection
from cli.terminal import Terminal
from mlplatform import prices
from mlplatform.aws_advice import read_advice_facts
from mlplatform.errors import AwsError
from mlplatform.recommendations import AdviceFacts, Recommendation, recommend, total

console = Terminal(highlight=False, markup=False)


def look(connection: Connection) -> tuple[AdviceFacts, tuple[Recommendation, ...]]:
    """The facts of the account as they are now, and what follows from them."""
    facts = read_advice_facts(
        connection.call,
        stack=connection.stack,
        region=connection.sagemaker.meta.region_name,
        now=connection.now(),
        office_hours=connection.parameters["OfficeHours"],
        time_zone=connection.parameters["TimeZone"],
    )
    found = recommend(facts, prices)
    if connection.endpoint_url is None:
        return facts, found
    return facts, tuple(replace(one, how=at(connection.endpoint_url, one.how)) for one in found)


def at(url: str, text: str) -> str:
    """Its commands of the AWS CLI with the laptop's address: without it they would go to AWS itself."""
    return re.sub(r"(?<![\w./-])aws (?=[a-z0-9]+ [a-z-]+ )", f"aws --endpoint-url {url} ", text)


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
        document["asleep"] = sorted(facts.asleep)
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
        what = "runs" if facts.asleep else "is there"
        console.print(f"Nothing to advise: what {what} is used, and no larger than it needs to be.")
    if facts.not_looked_at:
        console.print(f"Not looked at: {'; '.join(facts.not_looked_at)}.")


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
    for one in chosen.calls:
        console.print(f"   {'doing' if yes else 'would do'}: {one}")
        if yes:
            try:
                connection.call(one.service, one.operation, **one.request)
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
