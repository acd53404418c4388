"""`make demo`: the whole story in one terminal. Every hop is really done and checked; the first that fails ends it."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from botocore.exceptions import ClientError
from rich.markup import escape
from rich.rule import Rule

from cli import costs, drop, laptop_clock, reference_dataset, teardown, terminal
from cli.connection import AWS_ERRORS, CommandError, Connection, explain
from cli.follow import Follower, Outcome
from cli.laptop_clock import call
from cli.main import commands
from cli.predict import invoke
from cli.terminal import Terminal
from mlplatform import names

STACK = "ml-platform"
DATASET = "reference"
INTERRUPT_AFTER_EPOCH = 3
LOAD_CLIENTS = 8
LOAD_LIMIT_SECONDS = 60
FRIDAY = 5

console = Terminal(highlight=False)


class HopFailed(Exception):
    """One sentence about the promise that was not kept."""


def main() -> int:
    """Exit code 0 when every hop worked."""
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="ml-platform-demo-") as folder, laptop() as url:
            connection = Connection(STACK, url, None)
            terminal.choose(["--laptop"], commands(), ".venv/bin/mlp")
            tell_story(connection, Path(folder))
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    except (HopFailed, CommandError, *AWS_ERRORS) as error:
        text = explain(error, connection) if isinstance(error, AWS_ERRORS) else str(error)
        console.print(f"[bold red]the demo failed:[/bold red] {escape(text)}")
        return 1
    console.print(Rule())
    console.print(f"[bold green]every hop worked[/bold green], in {time.monotonic() - started:.0f} s. ")
    console.print("Look around yourself: `make up`, then `mlp drop YOUR.csv --follow`, in another terminal.")
    return 0


def tell_story(connection: Connection, folder: Path) -> None:
    title("1  A drop is trained on spot, interrupted, resumed, judged and deployed")
    files = reference_dataset.write(folder / "reference")
    # The defaults train it in a second, too quickly to be interrupted.
    spec = reference_dataset.write_spec(folder / "reference", epochs=150, patience=150)
    outcome = drop_and_follow(connection, [*files, spec], DATASET, interrupt=True)
    expect(outcome.kind == "deployed", f"the reference dataset was {outcome.kind}: {outcome.reason}")
    show_job(connection, outcome)

    title("2  The endpoint answers")
    show_predictions(connection, files[-1])

    title("3  Load comes, and the fleet grows")
    show_scaling(connection)

    title("4  A second version with slipped labels is kept out")
    worse = shuffled_labels(files, folder / "worse")
    before = live_config(connection)
    outcome = drop_and_follow(connection, worse, DATASET)
    expect(outcome.kind == "kept", f"the worse version was {outcome.kind}: {outcome.reason}")
    expect(live_config(connection) == before, "the endpoint changed although the new model was worse")
    console.print("the live model goes on answering")

    title("5  A broken file is refused before any money is spent")
    broken = folder / "broken.csv"
    broken.write_text("age,income,label\n" + "31,1000,yes\n" * 30 + "31,1000\n" + "40,2000,no\n" * 30)
    outcome = drop_and_follow(connection, [broken], "broken")
    expect(outcome.kind == "rejected", f"the broken file was {outcome.kind}")

    title("6  Another dataset asks for boosted trees; a pipeline trains them")
    show_pipeline(connection, folder / "tumours")

    title("7  The night: office hours end, and the endpoint stops costing")
    wait_for_rest(connection)
    parked = show_night(connection)

    title("8  The morning: it comes back exactly as it was, and the daily report is there")
    show_morning(connection, parked, files[-1])
    show_report(connection)

    title("9  A budget is nearly spent")
    show_budget_alert(connection)

    title("10  What reached people")
    messages = call(connection, "/_laptop/inbox")
    for message in messages:
        console.print(f"[dim]{message['channel']:<6}[/dim] {escape(words_of(message))}")
    expect(any("broken" in json.dumps(message) for message in messages), "the rejection reached nobody")

    title("11  The end: everything goes, and nothing billable is left")
    expect(teardown.remove(connection, data=True) == 0, "the teardown left something behind")


def words_of(message: dict[str, Any]) -> str:
    """The first section of a Slack message, which says why; its text alone is the title."""
    blocks = message.get("blocks") or []
    sections = [block["text"]["text"] for block in blocks if block["type"] == "section" and "text" in block]
    why = sections[0].partition("\n")[0] if sections else ""
    return f"{message.get('text') or message.get('subject')}: {why}"


def drop_and_follow(connection: Connection, files: list[Path], dataset: str, interrupt: bool = False) -> Outcome:
    since = connection.now().timestamp() - 1
    started = time.monotonic()
    version = drop.upload(connection, files, dataset, console)
    console.print(f"dropped {', '.join(file.name for file in files)} into datasets/{dataset}/")
    interrupted: list[str] = []

    def reclaim(job_name: str, epoch: int) -> None:
        if interrupt and not interrupted and epoch >= INTERRUPT_AFTER_EPOCH:
            interrupted.append(job_name)
            console.print(f"[yellow]EC2 takes the spot instance back after epoch {epoch}[/yellow]")
            call(connection, "/_laptop/interrupt", {"training_job_name": job_name})

    outcome = Follower(connection, console, dataset, version, since, timeout_seconds=180, on_epoch=reclaim).run()
    expect(not interrupt or bool(interrupted), "the job was over before it could be interrupted")
    seconds = time.monotonic() - started
    style = "green" if outcome.kind == "deployed" else "yellow"
    console.print(f"[bold {style}]{outcome.kind}[/bold {style}] after {seconds:.1f} s: {escape(outcome.reason)}")
    return outcome


def show_job(connection: Connection, outcome: Outcome) -> None:
    job = connection.sagemaker.describe_training_job(TrainingJobName=outcome.job_name)
    states = [transition["Status"] for transition in job["SecondaryStatusTransitions"]]
    console.print(f"states: {' > '.join(states)}")
    expect(job["EnableManagedSpotTraining"], "the job did not run on spot")
    expect("Interrupted" in states, "the interruption left no trace in the job's states")
    billed, trained = job["BillableTimeInSeconds"], job["TrainingTimeInSeconds"]
    expect(billed < trained, f"{billed} s billed of {trained} s trained: spot saved nothing")
    metrics = {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]}
    expect(metrics.get("test:roc_auc", 0) > 0.98, f"the model is poor: {metrics}")
    packages = connection.sagemaker.list_model_packages(ModelPackageGroupName=connection.endpoint_name(DATASET))
    expect(len(packages["ModelPackageSummaryList"]) == 1, "the model was not registered once")
    console.print(f"registered as {packages['ModelPackageSummaryList'][0]['ModelPackageArn'].split(':')[-1]}")


def show_pipeline(connection: Connection, folder: Path) -> None:
    """On a table that scikit-learn brings along: 569 tumours, benign or malignant."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    columns = [str(name) for name in found.feature_names]
    folder.mkdir()
    data, spec = folder / "tumours.csv", folder / "job.json"
    with data.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([*columns, "target"])
        rows.writerows(
            [*features, found.target_names[label]]
            for features, label in zip(found.data.tolist(), found.target, strict=True)
        )
    spec.write_text(json.dumps({"algorithm": "xgboost", "hyperparameters": {"num_round": 100}}))
    outcome = drop_and_follow(connection, [data, spec], "tumours")
    expect(outcome.kind == "deployed", f"the trees were {outcome.kind}: {outcome.reason}")
    first = dict(zip(columns, found.data[0].tolist(), strict=True))
    body = json.dumps({"records": [first]}).encode()
    answer = json.loads(invoke(connection, "tumours", body, "application/json", "application/json"))
    console.print(f"the first row is {answer['predictions'][0]}, and is labelled {found.target_names[found.target[0]]}")


def show_predictions(connection: Connection, test_file: Path) -> None:
    with test_file.open(newline="") as stream:
        rows = list(csv.reader(stream))
    labels = [row[0] for row in rows]
    body = "\n".join(",".join(row[1:]) for row in rows)
    answer = json.loads(invoke(connection, DATASET, body.encode(), "text/csv", "application/json"))
    right = sum(str(given) == wanted for given, wanted in zip(answer["predictions"], labels, strict=True))
    console.print(f"{len(labels)} test rows as CSV: {100 * right / len(labels):.1f} % right")
    expect(right / len(labels) > 0.9, "the endpoint answers worse than the model was judged")
    one = {"features": [[float(value) for value in rows[0][1:]]]}
    answer = json.loads(invoke(connection, DATASET, json.dumps(one).encode(), "application/json", "application/json"))
    shown = {"predictions": answer["predictions"], "probabilities": answer["probabilities"]}
    console.print(f"one row as JSON: {json.dumps(shown)} (its label is {labels[0]})")


def show_scaling(connection: Connection) -> None:
    resource = names.scalable_target(connection.endpoint_name(DATASET))["ResourceId"]
    policies = connection.autoscaling.describe_scaling_policies(ServiceNamespace="sagemaker", ResourceId=resource)
    for policy in policies["ScalingPolicies"]:
        target = policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
        console.print(f"policy {policy['PolicyName']}: target {target:g}")
    expect(len(policies["ScalingPolicies"]) == 2, "the endpoint does not have its two scaling policies")
    client = connection.client("sagemaker-runtime")
    stop = threading.Event()
    counts = {"answered": 0, "failed": 0}
    lock = threading.Lock()

    def ask() -> None:
        while not stop.is_set():
            try:
                client.invoke_endpoint(
                    EndpointName=connection.endpoint_name(DATASET),
                    Body=json.dumps({"features": [[0.1] * 20]}),
                    ContentType="application/json",
                )["Body"].read()
                key = "answered"
            except ClientError:
                key = "failed"
            with lock:
                counts[key] += 1

    started = time.monotonic()
    with ThreadPoolExecutor(LOAD_CLIENTS) as pool:
        for _ in range(LOAD_CLIENTS):
            pool.submit(ask)
        try:
            instances = wait_for_instances(connection, started)
        finally:
            stop.set()
    seconds = time.monotonic() - started
    console.print(
        f"{counts['answered']} requests in {seconds:.0f} s ({counts['answered'] / seconds:.0f} a second), "
        f"{counts['failed']} failed; the fleet grew from 1 to {instances} instances "
        "(a CloudWatch minute takes 2 s here)"
    )
    expect(counts["failed"] == 0, f"{counts['failed']} requests failed under load")


def wait_for_instances(connection: Connection, started: float) -> int:
    with console.status("load") as status:
        while time.monotonic() - started < LOAD_LIMIT_SECONDS:
            variants = connection.sagemaker.describe_endpoint(EndpointName=connection.endpoint_name(DATASET))
            count = int(variants["ProductionVariants"][0]["CurrentInstanceCount"])
            status.update(f"load: {count} instance{'s' if count > 1 else ''}")
            if count > 1:
                return count
            time.sleep(0.5)
    raise HopFailed(f"the fleet did not grow within {LOAD_LIMIT_SECONDS} s of load")


def show_night(connection: Connection) -> dict[str, Any]:
    """Moves the clock past the end of the next working day; what the endpoint was before."""
    name = connection.endpoint_name(DATASET)
    before = described(connection)
    move_to(connection, 18, 5)
    try:
        status = connection.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]
    except ClientError:
        status = "gone"
    expect(status == "gone", f"the endpoint is {status} after office hours")
    targets = connection.autoscaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"]
    expect(not any(f"/{name}/" in target["ResourceId"] for target in targets), "its scaling still stands")
    config = connection.sagemaker.describe_endpoint_config(EndpointConfigName=before["config"])
    console.print(f"{name} is gone; {config['EndpointConfigName']} keeps what it needs to come back")
    return before


def show_morning(connection: Connection, parked: dict[str, Any], test_file: Path) -> None:
    move_to(connection, 8, 5)
    after = described(connection)
    for what, value in parked.items():
        expect(after[what] == value, f"its {what} came back as {after[what]}, and was {value}")
    console.print(f"equal to what it was: {', '.join(parked)}")
    show_predictions(connection, test_file)


def described(connection: Connection) -> dict[str, Any]:
    """All that must come back, without the times and the addresses that a new endpoint has of its own."""
    name = connection.endpoint_name(DATASET)
    endpoint = connection.sagemaker.describe_endpoint(EndpointName=name)
    expect(endpoint["EndpointStatus"] == "InService", f"the endpoint is {endpoint['EndpointStatus']}")
    scaling = connection.autoscaling
    found = {"ServiceNamespace": "sagemaker"}
    resource = names.scalable_target(name)["ResourceId"]
    targets = scaling.describe_scalable_targets(**found, ResourceIds=[resource])["ScalableTargets"]
    policies = scaling.describe_scaling_policies(**found, ResourceId=resource)["ScalingPolicies"]
    actions = scaling.describe_scheduled_actions(**found, ResourceId=resource)["ScheduledActions"]
    tags = connection.sagemaker.list_tags(ResourceArn=endpoint["EndpointArn"])["Tags"]
    return {
        "config": endpoint["EndpointConfigName"],
        "instances": sum(variant["CurrentInstanceCount"] for variant in endpoint["ProductionVariants"]),
        "weights": [variant["CurrentWeight"] for variant in endpoint["ProductionVariants"]],
        "scaling limits": [(target["MinCapacity"], target["MaxCapacity"]) for target in targets],
        "scaling policies": {
            policy["PolicyName"]: policy["TargetTrackingScalingPolicyConfiguration"] for policy in policies
        },
        "scheduled actions": [action["ScheduledActionName"] for action in actions],
        "tags": {tag["Key"]: tag["Value"] for tag in tags},
    }


def wait_for_rest(connection: Connection) -> None:
    """Until the load of before has been forgotten: the fleet is back at one instance, and scales no more."""
    limit = time.monotonic() + LOAD_LIMIT_SECONDS
    with console.status("the fleet shrinks again"):
        while not at_rest(connection):
            expect(time.monotonic() < limit, f"the fleet did not shrink within {LOAD_LIMIT_SECONDS} s without load")
            time.sleep(0.5)


def at_rest(connection: Connection) -> bool:
    endpoint = connection.sagemaker.describe_endpoint(EndpointName=connection.endpoint_name(DATASET))
    counts = [variant["CurrentInstanceCount"] for variant in endpoint["ProductionVariants"]]
    return endpoint["EndpointStatus"] == "InService" and counts == [1]


def move_to(connection: Connection, hour: int, minute: int) -> None:
    """Moves the laptop's clock to the next such time on a day from Monday to Friday, and tells what happened."""
    zone = ZoneInfo(laptop_clock.time_zone(connection))
    moment = connection.now().astimezone(zone).replace(hour=hour, minute=minute, second=0)
    while moment <= connection.now() or moment.isoweekday() > FRIDAY:
        moment += timedelta(days=1)
    with console.status("the time passes"):
        laptop_clock.move(connection, {"to": moment.isoformat()}, zone)


def show_report(connection: Connection) -> None:
    """The newest report, held against the bill to the cent."""
    report = json.loads(costs.read(connection, str(costs.newest(connection))))
    console.print(report["text"], highlight=False, markup=False)
    lines = [line for line in call(connection, "/_laptop/bill") if line["day"] == report["day"]]
    billed = sum((Decimal(str(line["usd"])) for line in lines), Decimal(0)).quantize(Decimal("0.01"))
    told = Decimal(report["services"]["total"]["yesterday"])
    expect(told == billed, f"the report says {told} USD for {report['day']}, and the bill says {billed} USD")
    expect(billed > 0, "a day with an endpoint cost nothing")
    console.print(f"[green]the bill of {report['day']} says ${billed} too[/green]")


def show_budget_alert(connection: Connection) -> None:
    project = connection.parameters["Project"]
    budget = connection.parameters["MonthlyBudgetUsd"]
    usd = float(budget) * 0.85
    console.print(f"somebody's experiment is billed: ${usd:.2f} of the month's ${budget}")
    line = {"service": "Amazon SageMaker", "usd": usd, "tags": {"Project": project}}
    call(connection, "/_laptop/bill", line)
    limit = time.monotonic() + 20
    while not (alerts := budget_alerts(connection)):
        expect(time.monotonic() < limit, "no budget alert came within 20 s")
        time.sleep(0.2)
    time.sleep(1)  # a second one would be too many
    alerts = budget_alerts(connection)
    expect(len(alerts) == 1, f"{len(alerts)} budget alerts came, not one")
    for block in alerts[0]["blocks"]:
        if block["type"] == "section" and "text" in block:
            console.print(escape(block["text"]["text"]))


def budget_alerts(connection: Connection) -> list[dict[str, Any]]:
    return [
        message
        for message in call(connection, "/_laptop/inbox")
        if message["channel"] == "slack" and connection.outputs["BudgetName"] in json.dumps(message)
    ]


def shuffled_labels(files: Sequence[Path], folder: Path) -> list[Path]:
    """The same rows, but whoever labelled the training and validation rows slipped by one; the test rows are right."""
    folder.mkdir()
    written = []
    for file in files:
        moved = folder / file.name
        rows = [line.partition(",") for line in file.read_text().splitlines()]
        slip = 0 if file.name.startswith("test") else 1
        labels = [label for label, _, _ in rows[slip:] + rows[:slip]]
        moved.write_text("".join(f"{label},{rest}\n" for label, (_, _, rest) in zip(labels, rows, strict=True)))
        written.append(moved)
    return written


def live_config(connection: Connection) -> str:
    name = connection.endpoint_name(DATASET)
    config: str = connection.sagemaker.describe_endpoint(EndpointName=name)["EndpointConfigName"]
    return config


def title(text: str) -> None:
    console.print()
    console.print(Rule(text, align="left"))


def expect(kept: bool, otherwise: str) -> None:
    if not kept:
        raise HopFailed(otherwise)


def working_day(after: datetime) -> datetime:
    """The next 10:01 UTC of a day from Monday to Friday: the story begins in office hours, whenever it is told."""
    moment = after.replace(hour=10, minute=1, second=0, microsecond=0)
    while moment <= after or moment.isoweekday() > FRIDAY:
        moment += timedelta(days=1)
    return moment


@contextmanager
def laptop() -> Iterator[str]:
    """Runs `make up`'s process on a free port until the block ends; nothing of it stays behind."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the laptop does, right after another one
        wanted = os.environ.get("PORT", "0")
        try:
            free.bind(("127.0.0.1", int(wanted)))
        except (OSError, OverflowError, ValueError) as error:
            raise HopFailed(
                f"PORT={wanted} can't be used: {error}. Give another one, or none: the demo then takes a free one."
            ) from error
        port = free.getsockname()[1]
    at = working_day(datetime.now(UTC))
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "laptop", "--port", str(port), "--at", at.isoformat()],
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        with console.status("starting the laptop and deploying template.yaml on it"):
            wait_until_ready(process, url)
        console.print(
            f"the laptop is ready at {url} after {time.monotonic() - started:.1f} s: console, API, stack {STACK}; "
            f"its clock begins on {at:%A %Y-%m-%d, %H:%M} UTC, in office hours"
        )
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(process: subprocess.Popen[str], url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise HopFailed(f"the laptop ended with exit code {process.returncode} before it was ready")
        try:
            with urllib.request.urlopen(f"{url}/_laptop/health", timeout=5) as answer:  # noqa: S310 loopback
                if json.load(answer)["status"] == "ready":
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        time.sleep(0.1)
    raise HopFailed("the laptop was not ready within 60 s")


if __name__ == "__main__":
    sys.exit(main())
