"""mlp: the platform from the command line, on AWS and on the laptop alike."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from botocore.exceptions import ClientError
from rich.markup import escape
from rich.padding import Padding

from cli import advice, costs, govern, laptop_clock, pipeline, summary_page, terminal
from cli import card as cards
from cli import drop as dropping
from cli import hours as office_hours
from cli import models as registered
from cli import status as overview
from cli import summary as deployed
from cli.ab import ab
from cli.check import check
from cli.connection import AWS_ERRORS, CommandError, Connection, explain, laptop_url
from cli.doctor import doctor
from cli.follow import DECIDING_FUNCTIONS, TRAINING_LOG_GROUP, Follower, conclude, known
from cli.hosting import hosting
from cli.loadtest import loadtest
from cli.predict import invoke, predictions
from cli.teardown import teardown
from cli.terminal import Terminal
from cli.tuning import tune
from mlplatform import names
from mlplatform.errors import PlatformError

OTHER_FUNCTIONS = (
    "compare_models",
    "keep_office_hours",
    "watch_spend",
    "report_costs",
    "activate_cost_tags",
    "notify",
    "publish_model_code",
    "govern_resources",
    "tear_down",
)
_STACK = "ml-platform"
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="Drop a CSV, get an endpoint. On AWS by your default credentials; with `--laptop` on this machine.",
)
slack = typer.Typer(no_args_is_help=True, help="Where alerts go in Slack.")
app.add_typer(slack, name="slack")
app.add_typer(laptop_clock.app, name="laptop")
app.add_typer(costs.app, name="costs")
app.add_typer(pipeline.app, name="pipeline")
costs.app.command()(advice.advice)
costs.app.command()(advice.apply)
app.command()(office_hours.hours)
app.command()(office_hours.snooze)
app.command()(cards.card)
app.command()(ab)
app.command()(check)
app.command()(doctor)
app.command()(govern.govern)
app.command()(govern.keep)
app.command()(hosting)
app.command()(loadtest)
app.command()(tune)
app.command()(teardown)
for command in (registered.models, registered.approve, registered.reject, registered.rollback):
    app.command()(command)
console = Terminal(soft_wrap=True)


def commands() -> tuple[str, ...]:
    """What can stand behind `mlp`."""
    return tuple(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@app.callback()
def connect(
    context: typer.Context,
    laptop: Annotated[bool, typer.Option("--laptop", help="Use the laptop of `make up`, at port PORT (4566).")] = False,
    stack: Annotated[str, typer.Option(help="The CloudFormation stack's name.", envvar="MLP_STACK")] = _STACK,
    region: Annotated[str | None, typer.Option(help="The AWS region; by default your profile's.")] = None,
) -> None:
    """Chooses the account."""
    url = laptop_url() if laptop or os.environ.get("AWS_ENDPOINT_URL") else None
    named = () if stack == _STACK else ("--stack", stack)
    asked = [*(["--laptop"] if url else []), *named, *(["--region", region] if region else [])]
    terminal.choose(asked, commands())
    context.obj = Connection(stack=stack, endpoint_url=url, region=region)


@app.command()
def drop(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="A CSV or Parquet file, several, or a folder with job.json.")],
    dataset: Annotated[str | None, typer.Option(help="The dataset's name; by default the file's.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Stay, and tell what happens, to the end.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove what the dataset's folder holds besides, an old job.json too.")
    ] = False,
) -> None:
    """Upload a dataset; with --follow, stay with it until its endpoint answers or a sentence says why not.

    Example: `mlp drop iris.csv --follow`, `mlp --laptop drop data/ --dataset churn`, `mlp drop new.csv --dataset churn
    --replace`
    """
    connection: Connection = context.obj
    chosen = dropping.files_of(files)
    name = dataset or dropping.dataset_name([files[0]] if files[0].is_dir() else chosen)
    since = connection.now().timestamp() - 1
    gone = dropping.clear(connection, chosen, name) if replace else []
    version = dropping.upload(connection, chosen, name, console)
    if gone:
        console.print(f"removed {', '.join(gone)}", markup=False)
    console.print(
        f"dropped {', '.join(file.name for file in chosen)} as dataset [bold]{name}[/bold], version {version}"
    )
    before = known(connection, name, version, since)
    if before is not None:
        conclude(before, name, connection, console)
        return
    if not follow:
        console.print(f"see how far it is: mlp status {name}")
        return
    conclude(Follower(connection, console, name, version, since).run(), name, connection, console)


@app.command()
def status(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="Only this dataset, with its reasons.")] = None,
) -> None:
    """What is there: datasets, their last verdict, job, model and endpoint.

    Example: `mlp status`, `mlp --laptop status churn`
    """
    rows = overview.rows(context.obj, dataset)
    if not rows:
        console.print("Nothing has been dropped yet." if dataset is None else f"Nothing is known of {dataset}.")
        return
    console.print(overview.table(rows, context.obj), soft_wrap=False)
    for row in rows:
        if row.reason and (dataset or row.verdict in ("rejected", "held")):
            console.print(f"{row.dataset}: {row.reason}", highlight=False)
        if row.outcome:
            console.print(f"what became of it: {row.outcome}", highlight=False)
    if dataset and rows[0].model and (link := cards.where(context.obj, dataset, rows[0].model)):
        console.print(f"the model's card: mlp card {dataset}, or {link}", highlight=False)
    elif any(row.model for row in rows):
        console.print("a model's card, with how well it does and on what data: mlp card DATASET", highlight=False)
    for name in (name for row in rows for name in row.waiting):
        console.print(registered.waits(name), highlight=False)
    sleeper = next((row.dataset for row in rows if row.asleep), None)
    if sleeper:
        console.print(f"To wake one sooner: mlp snooze {sleeper} --hours 2", highlight=False)


@app.command()
def predict(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="The dataset's name.")],
    file: Annotated[
        Path | None, typer.Argument(help="A .csv or .csv.gz without the label, or a .json; - reads CSV.")
    ] = None,
    json_body: Annotated[str | None, typer.Option("--json", help="The JSON request itself.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Answer as CSV instead of JSON.")] = False,
) -> None:
    """Ask a dataset's endpoint.

    Example: `mlp predict churn new.csv`, `mlp predict churn --json '{"records": [{"age": 41}]}'`
    """
    if (file is None) == (json_body is None):
        raise CommandError("Give either a file or --json with the request.")
    ask = functools.partial(_ask, context.obj, dataset, "text/csv" if csv else "application/json")
    if json_body is not None:
        answer = ask(json_body.encode(), "application/json")
    elif str(file) == "-":
        answer = predictions(ask, Path("standard input"), sys.stdin.buffer.read(), as_csv=csv)
    else:
        assert file is not None
        if not file.is_file():
            raise CommandError(f"There is no file {file}.")
        answer = predictions(ask, file, file.read_bytes(), as_csv=csv)
    sys.stdout.write(answer if csv else json.dumps(json.loads(answer), indent=1, ensure_ascii=False) + "\n")


def _ask(connection: Connection, dataset: str, accept: str, body: bytes, content_type: str) -> str:
    return invoke(connection, dataset, body, content_type, accept)


@app.command()
def logs(
    context: typer.Context,
    what: Annotated[str, typer.Argument(help="A function (start-training), `training`, a job or a dataset.")] = "",
    minutes: Annotated[float, typer.Option(help="How far back.")] = 60,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C.")] = False,
) -> None:
    """Logs of the functions, of training jobs and of endpoints.

    Saved queries for more than that (errors, money, a dataset's story, slow calls) are in CloudWatch Logs Insights, in
    the stack's folder. Example: `mlp logs` (all decisions), `mlp logs deploy-model`, `mlp logs churn --follow`
    """
    connection: Connection = context.obj
    since = connection.now() - timedelta(minutes=minutes)
    functions = [name.replace("_", "-") for name in (*DECIDING_FUNCTIONS, *OTHER_FUNCTIONS)]
    if not what:
        groups: list[overview.LogQuery] = [
            overview.LogQuery(connection.function_log_group(name), pattern='"decision"') for name in functions
        ]
    elif what in functions:
        groups = [overview.LogQuery(connection.function_log_group(what))]
    elif what == "training":
        groups = [overview.LogQuery(TRAINING_LOG_GROUP)]
    else:
        own = f"{connection.stack}-"
        groups = [
            overview.LogQuery(TRAINING_LOG_GROUP, what)
            if what.startswith(own)
            else overview.LogQuery(TRAINING_LOG_GROUP, f"{own}{what}-", dataset=what),
            overview.LogQuery(f"/aws/sagemaker/Endpoints/{connection.endpoint_name(what)}"),
            overview.LogQuery(f"/aws/sagemaker/InferenceComponents/{connection.endpoint_name(what)}"),
        ]
    seen: set[str] = set()
    while True:
        for line in overview.log_lines(connection, groups, since, seen):
            console.print(line, highlight=False, markup=False)
        if not follow:
            break
        time.sleep(1 if connection.endpoint_url else 3)
    if not seen:
        console.print(f"No log lines in the last {minutes:g} minutes.")


@app.command()
def summary(
    context: typer.Context,
    html: Annotated[Path | None, typer.Option(help="Write it as a page to this file.")] = None,
) -> None:
    """What is deployed: every resource, its purpose, its monthly cost, what it saves and how it is secured.

    Example: `mlp summary`, `mlp summary --html summary.html`
    """
    found = deployed.summarise(context.obj)
    if html is not None:
        html.write_text(summary_page.page(found))
        console.print(f"written to {html}")
        return
    for group in dict.fromkeys(item.group for item in found.items):
        console.print(f"\n[bold]{escape(group)}[/bold]", highlight=False)
        for item in found.items:
            if item.group == group:
                console.print(f"  {escape(item.logical_id)}  ${item.usd:.2f} a month", highlight=False)
                security = [*item.security, *(f"lacks the tag {tag}" for tag in item.missing_tags or ())]
                for text in filter(None, (item.purpose, item.saves, "; ".join(security))):
                    console.print(Padding(escape(text), (0, 0, 0, 6)), style="dim", highlight=False, soft_wrap=False)
    console.print()
    own, list_price = found.own_cost
    for one in found.serving:
        cost = "unknown" if one.usd is None else f"${one.usd:.2f}"
        console.print(f"endpoint {one.name}: {one.what}, {one.hours_per_week:g} of 168 hours a week, {cost} a month")
    console.print(
        f"The platform itself costs ${own:.2f} a month (${list_price:.2f} without AWS's always-free allowances), its "
        f"endpoints ${found.serving_usd:.2f}. Closed hours save ${found.hours_save_usd:.2f} a month; "
        f"{len(found.recommendations)} recommendations would save up to ${found.advice_usd:.2f}: mlp costs advice.",
        highlight=False,
    )


@slack.command("set")
def slack_set(
    context: typer.Context,
    url: Annotated[str, typer.Option(prompt="Incoming webhook URL", hide_input=True, help="Asked for if left out.")],
) -> None:
    """Store the incoming webhook, encrypted, in SSM Parameter Store (free).

    Example: `mlp slack set` (asks without showing it)
    """
    connection: Connection = context.obj
    local = connection.endpoint_url is not None and url.startswith("http://")  # the laptop's own inbox
    if not url.startswith("https://") and not local:
        raise CommandError("A Slack incoming webhook starts with https://hooks.slack.com/services/")
    connection.client("ssm").put_parameter(
        Name=names.slack_webhook(connection.stack), Value=url, Type="SecureString", Overwrite=True
    )
    console.print("stored; the next alert goes there")


def main() -> None:
    """The `mlp` command: every expected error becomes one sentence and exit code 1."""
    # --laptop chooses the account, so it is understood behind the command as well as before it.
    if "--laptop" in sys.argv[2:]:
        sys.argv.remove("--laptop")
        sys.argv.insert(1, "--laptop")
    try:
        app(standalone_mode=True)
    except CommandError as error:
        Terminal(stderr=True).print(f"[red]{error}[/red]", highlight=False)
        sys.exit(1)
    except PlatformError as error:
        if os.environ.get("MLP_DEBUG"):
            raise
        Terminal(stderr=True).print(f"[red]{error}[/red]", highlight=False)
        sys.exit(2)
    except AWS_ERRORS as error:
        if os.environ.get("MLP_DEBUG"):
            raise
        url = laptop_url() if "--laptop" in sys.argv or os.environ.get("AWS_ENDPOINT_URL") else None
        text = explain(error, Connection("", url, None))
        Terminal(stderr=True).print(f"[red]{text}[/red]", highlight=False)
        sys.exit(1 if not isinstance(error, ClientError) else 2)


if __name__ == "__main__":
    main()
