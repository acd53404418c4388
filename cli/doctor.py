"""`mlp doctor`: what endpoints lack, and, asked, its mending by the functions whose work it is.

The findings are the platform's own planners' on the account as it is now. Nothing is decided here a second time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from rich.markup import escape

from cli.connection import Connection
from cli.serving import app_of
from cli.terminal import Terminal
from mlplatform import names
from mlplatform.app import App
from mlplatform.autoscaling import check_endpoint, plan_autoscaling
from mlplatform.decisions import ConfigureAutoscaling, FinishDeployment, MakeComponent, Notify, Skip
from mlplatform.experiments import as_challenger, plan_share, plan_variants, share_of
from mlplatform.facts import DATASET_TAG, Endpoint, Prediction, Unasked

console = Terminal(highlight=False)
Mend = Literal["configure", "clamp", "govern", ""]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be."""

    about: str
    reason: str
    command: str  # that a person would give
    mend: Mend = ""  # how --mend does it; nothing where a person has to decide


def doctor(
    context: typer.Context,
    mend: Annotated[bool, typer.Option("--mend", help="Mend what needs no decision of a person's.")] = False,
) -> None:
    """Find what endpoints lack: their config, scaling, instances, alarms; and what is left of those that are gone.

    The exit code is 1 if something is wrong that was not mended. Example: `mlp doctor`, `mlp doctor --mend`
    """
    connection: Connection = context.obj
    app = app_of(connection)
    findings = [*examine(app), *_orphans(connection)]
    open_ = 0
    for one in findings:
        console.print(f"[bold red]wrong[/bold red]  {one.about}: {escape(one.reason)}", hang=7)
        done = _mend(connection, app, one) if mend and one.mend else ""
        if done:
            console.print(f"[green]mended[/green] {one.about}: {escape(done)}", hang=7)
        else:
            open_ += 1
            console.print(f"       {one.command}", markup=False)
    if not findings:
        console.print("Every endpoint has what it should have.")
    elif open_:
        raise typer.Exit(1)


def examine(app: App) -> Iterator[Finding]:
    """What is wrong with the stack's endpoints that are there; parked ones have what they need in their record."""
    for hosted in app.aws.hosted_endpoints():
        if names.bare(hosted.name) != hosted.name:
            continue  # it stands in for one that moves, and needs nothing
        endpoint = app.aws.endpoint(hosted.name) if hosted.status else None
        if endpoint is not None and not endpoint.busy and hosted.parked is None:
            yield from _examined(app, endpoint)


def _examined(app: App, endpoint: Endpoint) -> Iterator[Finding]:
    dataset = endpoint.tags.get(DATASET_TAG, endpoint.name)
    first = check_endpoint(endpoint, app.settings)
    if isinstance(first, Skip):
        return
    if isinstance(first, FinishDeployment | MakeComponent):
        yield Finding(endpoint.name, first.reason, "mlp doctor --mend", "configure")
        return
    if isinstance(first, Notify):
        yield Finding(endpoint.name, first.reason, f"mlp models {dataset}")
    if endpoint.status != "InService" or DATASET_TAG not in endpoint.tags:
        return
    variants = plan_variants(endpoint, app.settings)
    if variants is not None:
        mend: Mend = "" if isinstance(variants, Notify) else "configure"
        yield Finding(endpoint.name, variants.reason, "mlp doctor --mend" if mend else f"mlp ab {dataset} --drop", mend)
    bounds = app.aws.scaling_bounds(endpoint)
    prediction = _tried(app, endpoint)
    yield from _lacking(app, endpoint, prediction, bounds, f"mlp rollback {dataset}")
    challenger = as_challenger(endpoint)
    if challenger is not None and variants is None:
        prediction = _tried(app, challenger)
        yield from _lacking(app, challenger, prediction, None, f"mlp ab {dataset} --drop")
        if (
            not isinstance(prediction, Unasked)
            and prediction.correct
            and plan_share(endpoint, prediction, app.settings) is not None
        ):
            share = f"its challenger gets {share_of(endpoint) * 100:g} % of the traffic, and not what it should."
            yield Finding(endpoint.name, share, "mlp doctor --mend", "configure")
    if bounds is not None and (endpoint.instance_count or bounds[0]) < bounds[0]:
        yield Finding(
            endpoint.name,
            f"it has {endpoint.instance_count} instances, fewer than the {bounds[0]} that its scaling allows.",
            "mlp doctor --mend",
            "clamp",
        )


def _tried(app: App, endpoint: Endpoint) -> Prediction | Unasked:
    card = app.aws.stored_card(endpoint.tags[DATASET_TAG], endpoint.model_name or "")
    return app.aws.smoke_test(endpoint, card.sample_json) if card else Prediction(False, "its model has no card")


def _lacking(
    app: App, endpoint: Endpoint, prediction: Prediction | Unasked, bounds: tuple[int, int] | None, way_out: str
) -> Iterator[Finding]:
    """What one of its models lacks."""
    wanted = plan_autoscaling(endpoint, prediction, app.settings, bounds)
    if isinstance(wanted, Notify):
        yield Finding(endpoint.name, wanted.reason, way_out)
        # What is wrong with the answers says nothing about the rest.
        wanted = plan_autoscaling(endpoint, Prediction(True, ""), app.settings, bounds)
    if isinstance(wanted, ConfigureAutoscaling):
        for lacking in app.aws.lacking(wanted):
            yield Finding(endpoint.name, lacking, "mlp doctor --mend", "configure")


def _orphans(connection: Connection) -> Iterator[Finding]:
    """What govern-resources would end, of things that nobody uses."""
    for one in connection.decide("govern-resources", {**_now(connection), "dry_run": True}):
        if one["decision"] == "EndResource":
            yield Finding("left over", one["reason"], "mlp govern --yes", "govern")


def _mend(connection: Connection, app: App, finding: Finding) -> str:
    """What was done. Done again for the next finding of the same endpoint, it changes nothing."""
    if finding.mend == "clamp":
        return app.aws.clamp(finding.about)
    if finding.mend == "govern":
        connection.decide("govern-resources", {**_now(connection), "dry_run": False})
        return "govern-resources has tidied up"
    return connection.look_again(finding.about)


def _now(connection: Connection) -> dict[str, str]:
    return {"scheduled_time": f"{connection.now():%Y-%m-%dT%H:%M:%SZ}"}
