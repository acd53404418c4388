"""Follows one dropped dataset down the chain, live: decisions with their reasons, job states, epochs, the endpoint.

Everything shown is read from AWS's own APIs (function logs, job, endpoint), so that it works the same everywhere.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import typer
from botocore.exceptions import ClientError
from rich.console import Console
from rich.markup import escape

from cli import logs
from cli.connection import Connection
from cli.pipeline import find_execution, steps
from cli.serving import app_of
from mlplatform import names
from mlplatform.aws import Aws
from mlplatform.tuning import shortened

DECIDING_FUNCTIONS = ("start_training", "deploy_model", "configure_autoscaling")
# What a training job's log tells of how far it is (model_code/learning.py and fitting.py).
_STEP = re.compile(
    r"\bepoch=(?P<epoch>\d+)\b(?:.*?\bvalidation_loss=(?P<loss>[\d.e+-]+))?|^Fold (?P<fold>\d+ of \d+):|"
    r"^(?P<trees>Boosted trees learn)"
)
_REMARK = re.compile(r"^(?:Warning: |The column .* is left out because )")  # what a person should know of the data


@dataclass(frozen=True)
class Outcome:
    """How a drop ended: `deployed`, `kept` (the live model stays), `not deployed` (and nothing is live), `asked` (a
    person's approval), `known` (it was dropped before), `open` (it was, and goes on), `rejected`, `held` (by a spending
    ceiling or a quota), `failed` or `timeout`."""

    kind: str
    reason: str
    job_name: str | None = None

    @property
    def good(self) -> bool:
        return self.kind in ("deployed", "kept", "asked", "known")


def known(connection: Connection, dataset: str, version: str, since: float) -> Outcome | None:
    """What became of a version that was dropped before, which starts nothing again; None of one that is new or held.

    `since`: seconds since the epoch, before this drop.
    """
    try:
        stored = connection.s3.get_object(Bucket=connection.data_bucket, Key=names.verdict_key(dataset, version))
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return None
        raise
    verdict = json.loads(stored["Body"].read())
    if stored["LastModified"].timestamp() >= since or verdict["verdict"] == "held":
        return None
    when = f"Version {version} of {dataset} is known since {stored['LastModified']:%Y-%m-%d %H:%M} UTC"
    if verdict["verdict"] == "rejected":
        return Outcome("rejected", f"{when}, when it was rejected: {verdict['reason']}")
    outcome = outcome_of(connection, dataset, verdict["job_name"])
    if outcome is None:
        return Outcome("open", f"{when}, and {verdict['job_name']} has not ended yet.", verdict["job_name"])
    again = "Each version is trained once: change the data or its job.json to train again."
    decision, kind = outcome["decision"], "failed"
    if decision == "KeepLiveModel":
        kind = kept_out(app_of(connection).aws, dataset)
    elif decision in ("DeployModel", "AskApproval"):
        kind = "known"
    return Outcome(kind, f"{when}. What became of it: {outcome['reason']} {again}", verdict["job_name"])


def kept_out(aws: Aws, dataset: str) -> str:
    """The kind of outcome of a model that its gate kept out: whether another one serves, or will in the morning."""
    return "kept" if aws.serving(dataset) is not None else "not deployed"


def outcome_of(connection: Connection, dataset: str, job: str) -> dict[str, Any] | None:
    """What deploy-model kept of a job that ended, or of a tuning's best trial."""
    jobs = [job]
    if names.is_tuning_job(job):
        found = connection.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=job)
        jobs.insert(0, found.get("BestTrainingJob", {}).get("TrainingJobName", job))
    for one in jobs:
        try:
            key = names.outcome_key(dataset, one)
            stored = connection.s3.get_object(Bucket=connection.outputs["ArtifactBucketName"], Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                raise
            continue
        found = json.loads(stored["Body"].read())
        return dict(found)
    return None


@dataclass
class Follower:
    """Polls and prints until the drop has ended."""

    connection: Connection
    console: Console
    dataset: str
    version: str
    since: float  # seconds since the epoch; older log lines belong to earlier drops
    timeout_seconds: float = 4 * 3600
    on_epoch: Any = None  # called with (job name, epoch) as epochs are seen
    _started: float = field(default_factory=time.monotonic)
    _seen: set[str] = field(default_factory=set)
    _decisions: list[dict[str, Any]] = field(default_factory=list)
    _job_name: str = ""
    _pipeline: str = ""  # the pipeline whose execution trains, where it is not a single job
    _steps: dict[str, str] = field(default_factory=dict)  # name -> status
    _transitions: int = 0
    _fold: str = ""  # such as 4 of 5, where the job trains on several
    _endpoint_status: str | None = None

    @cached_property
    def _aws(self) -> Aws:
        return app_of(self.connection).aws

    def run(self) -> Outcome:
        with self.console.status("waiting for the drop to settle") as status:
            while time.monotonic() - self._started < self.timeout_seconds:
                outcome = self._look(status)
                if outcome:
                    return outcome
                time.sleep(0.4 if self.connection.endpoint_url else 3.0)
        return Outcome("timeout", f"Nothing more happened within {self.timeout_seconds:.0f} s.", self._job_name or None)

    def _say(self, who: str, text: str, style: str = "") -> None:
        elapsed = time.monotonic() - self._started
        self.console.print(
            f"[dim]{elapsed:6.1f} s[/dim]  [bold]{who:<22}[/bold] {escape(text)}", style=style, highlight=False
        )

    def _look(self, status: Any) -> Outcome | None:
        self._read_decisions()
        if not self._job_name:
            verdict = self._verdict()
            if verdict is None:
                return None
            if verdict["verdict"] in ("rejected", "held"):
                return Outcome(verdict["verdict"], verdict["reason"])
            self._job_name, self._pipeline = verdict["job_name"], verdict.get("pipeline", "")
        if self._pipeline:
            return self._look_at_pipeline(status)
        if names.is_tuning_job(self._job_name):
            return self._read_tuning(status)
        job = self.connection.sagemaker.describe_training_job(TrainingJobName=self._job_name)
        self._read_job(job, status)
        if job["TrainingJobStatus"] in ("Failed", "Stopped"):
            return Outcome(
                "failed", job.get("FailureReason") or f"The job was stopped: {job['SecondaryStatus']}.", self._job_name
            )
        if job["TrainingJobStatus"] != "Completed":
            return None
        status.update("judging and deploying the model")
        return self._read_endpoint()

    def _look_at_pipeline(self, status: Any) -> Outcome | None:
        execution = find_execution(self.connection, self._pipeline, self._job_name)
        if execution is None:
            return None
        failed = ""
        for step in steps(self.connection, execution.arn):
            if self._steps.get(step.name) != step.status:
                self._steps[step.name] = step.status
                self._say(f"step {step.name}", f"{step.status}  {step.detail}".rstrip())
                status.update(f"step {step.name}")
            if step.status == "Executing" and step.detail.startswith("training-job/"):
                self._read_epochs(step.detail.removeprefix("training-job/"), status)
            if step.status == "Failed":
                failed = f"{step.name} failed: {step.detail}"
        if execution.status in ("Failed", "Stopped"):
            told = [one for one in self._decisions if one["decision"] == "Notify" and self._job_name in json.dumps(one)]
            if not told and not failed:
                failed = "The execution was stopped."
            return Outcome("failed", told[-1]["message"] if told else failed, self._job_name)
        return self._read_endpoint() if execution.status == "Succeeded" else None

    def _read_decisions(self) -> None:
        for function in DECIDING_FUNCTIONS:
            for event in self._new(logs.LogQuery(self.connection.function_log_group(function), pattern='"decision"')):
                entry = _json_object(event["message"])
                if not entry or "decision" not in entry or not self._is_mine(entry):
                    continue
                self._decisions.append(entry)
                if entry["decision"] != "Skip":
                    self._say(function.replace("_", "-"), f"{entry['decision']}: {entry['message']}", "cyan")

    def _is_mine(self, entry: dict[str, Any]) -> bool:
        """Whether a decision is about this dataset, and not about one whose name begins, or goes on, alike."""
        endpoint = self.connection.endpoint_name(self.dataset)
        job = re.fullmatch(rf"{re.escape(endpoint)}-([0-9a-f]{{12}})-[0-9a-f]+", str(entry.get("job_name")))
        if entry.get("version", self.version) != self.version or (job and job[1] != self.version):
            return False  # of another version, which was dropped before or meanwhile
        for key, own in (("dataset", self.dataset), ("endpoint_name", endpoint)):
            if key in entry:
                return bool(entry[key] == own)
        said = str(entry.get("message", ""))
        if self.version in said or (self._job_name and self._job_name in said):
            return True
        named = rf"{re.escape(endpoint)}(?:-[0-9a-f]{{12}}-[0-9a-f]+|-v\d+)?|{re.escape(self.dataset)}/\d+"
        return re.search(rf"(?<![\w-])(?:{named})(?![\w-])", said) is not None

    def _new(self, query: logs.LogQuery) -> list[dict[str, Any]]:
        """The log's events that were not seen yet."""
        fresh = [event for event in logs.read(self.connection, query, self.since) if event["eventId"] not in self._seen]
        self._seen.update(event["eventId"] for event in fresh)
        return fresh

    def _verdict(self) -> dict[str, Any] | None:
        try:
            stored = self.connection.s3.get_object(
                Bucket=self.connection.data_bucket, Key=names.verdict_key(self.dataset, self.version)
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                return None
            raise
        verdict: dict[str, Any] = json.loads(stored["Body"].read())
        if verdict["verdict"] == "held" and stored["LastModified"].timestamp() < self.since - 1:
            return None  # of an earlier drop; unlike the other verdicts it is not for good
        return verdict

    def _read_job(self, job: dict[str, Any], status: Any) -> None:
        transitions = job.get("SecondaryStatusTransitions", [])
        for transition in transitions[self._transitions :]:
            message = transition.get("StatusMessage", "")
            self._say("training job", f"{transition['Status']}  {message}".rstrip())
            status.update(f"training job {transition['Status']}")
        self._transitions = len(transitions)
        self._read_epochs(self._job_name, status)
        if job["TrainingJobStatus"] == "Completed" and "said-completed" not in self._seen:
            self._seen.add("said-completed")
            self._say("training job", _job_summary(job), "green")

    def _read_epochs(self, job_name: str, status: Any) -> None:
        for event in self._new(logs.LogQuery(logs.TRAINING_LOG_GROUP, f"{job_name}/")):
            found = _STEP.search(event["message"])
            if found:
                self._fold = found["fold"] or self._fold
                status.update(doing(found, self._fold))
            elif _REMARK.search(event["message"]) and event["message"] not in self._seen:
                self._seen.add(event["message"])  # each process of several says it, and each step of a pipeline
                self._say("training job", event["message"].strip(), "yellow")
            if found and found["epoch"] and self.on_epoch:
                self.on_epoch(job_name, int(found["epoch"]))

    def _read_tuning(self, status: Any) -> Outcome | None:
        """Tells of each trial that ends; once all have, the best is what is followed on."""
        name = self._job_name
        tuning = self.connection.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        best = tuning.get("BestTrainingJob", {})
        pages = self.connection.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job").paginate(
            HyperParameterTuningJobName=name, SortBy="CreationTime", SortOrder="Ascending"
        )
        trials = [one for page in pages for one in page["TrainingJobSummaries"]]
        ended = [one for one in trials if one["TrainingJobStatus"] in ("Completed", "Failed", "Stopped")]
        most = tuning["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
        for trial in ended:
            if trial["TrainingJobName"] not in self._seen:
                self._seen.add(trial["TrainingJobName"])
                self._say("trial", _trial_summary(trial, best, len(self._seen_trials(trials)), most))
        status.update(f"tuning: {len(ended)} of {most} trials ended")
        if tuning["HyperParameterTuningJobStatus"] not in ("Completed", "Failed", "Stopped"):
            return None
        if not best:
            reason = tuning.get("FailureReason") or "The tuning ended without a trial that completed."
            return Outcome("failed", reason, name)
        self._say("tuning job", f"{tuning['HyperParameterTuningJobStatus']}: {best['TrainingJobName']} is the best")
        self._job_name = best["TrainingJobName"]
        job = self.connection.sagemaker.describe_training_job(TrainingJobName=self._job_name)
        self._transitions = len(job.get("SecondaryStatusTransitions", []))  # its states were told as a trial's
        return None

    def _seen_trials(self, trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [trial for trial in trials if trial["TrainingJobName"] in self._seen]

    def _read_endpoint(self) -> Outcome | None:
        # A model that a pipeline registered is called by its package's number.
        known = "" if self._pipeline else self._job_name
        for decision in reversed(self._decisions):
            if decision["decision"] in ("KeepLiveModel", "AskApproval") and known in json.dumps(decision):
                kind = "asked" if decision["decision"] == "AskApproval" else kept_out(self._aws, self.dataset)
                return Outcome(kind, decision["message"], self._job_name)
        name = self.connection.endpoint_name(self.dataset)
        endpoint = self._aws.endpoint(name)
        if endpoint is None:
            return None
        if endpoint.status != self._endpoint_status:
            self._endpoint_status = endpoint.status
            self._say("endpoint", f"{name} is {self._endpoint_status}")
        if endpoint.status == "Failed":
            return Outcome("failed", endpoint.failure_reason or "The endpoint failed.", self._job_name)
        if endpoint.status != "InService" or endpoint.model_name != self._job_name:
            return None
        settled = [
            decision
            for decision in self._decisions
            if decision.get("decision") in ("ConfigureAutoscaling", "Skip", "Notify")
            and "configure-autoscaling" in json.dumps(decision)
        ]
        # Where it was dropped before, its scaling was decided long ago.
        done = settled or self._scales(name)
        return Outcome("deployed", f"{name} answers.", self._job_name) if done else None

    def _scales(self, endpoint: str) -> bool:
        resource = names.scalable_target(endpoint)["ResourceId"]
        policies = self.connection.autoscaling.describe_scaling_policies(
            ServiceNamespace="sagemaker", ResourceId=resource
        )
        return bool(policies["ScalingPolicies"])


def follow_to_end(connection: Connection, console: Console, dataset: str, version: str, since: float) -> None:
    """Follows a drop, and prints how it ended. Raises typer.Exit where that is not well, or was not waited for."""
    try:
        outcome = Follower(connection, console, dataset, version, since).run()
    except KeyboardInterrupt:
        console.print(f"\nnot followed any more; what has begun goes on: mlp status {dataset}")
        raise typer.Exit(130) from None
    conclude(outcome, dataset, console)


def conclude(outcome: Outcome, dataset: str, console: Console) -> None:
    """Prints how a followed drop ended. Raises typer.Exit where that is not well."""
    style = "red" if not outcome.good else "yellow" if outcome.kind == "kept" else "green"
    console.print(f"[bold {style}]{outcome.kind}[/bold {style}]: {escape(outcome.reason)}", highlight=False)
    if outcome.kind == "deployed":
        console.print(f"try it: mlp predict {dataset} FILE.csv")
    if outcome.kind in ("known", "kept"):
        console.print(f"what is live now: mlp status {dataset}; what there is: mlp models {dataset}")
    if outcome.kind == "not deployed":
        console.print(f"how good it is, and on what data: mlp card {dataset}; what there is: mlp models {dataset}")
    if outcome.kind == "asked":
        console.print(f"decide: mlp approve {dataset}; what there is: mlp models {dataset}")
    if not outcome.good:
        raise typer.Exit(1)


def doing(found: re.Match[str], fold: str) -> str:
    """What a training job does, by a line of its log that _STEP has found, and the fold that it is at."""
    if found["trees"]:
        return "training: boosted trees, beside the network"
    at = f"fold {fold}" if fold else ""
    epoch = f"epoch {found['epoch']}" if found["epoch"] else ""
    loss = f"validation loss {float(found['loss']):.4g}" if found["loss"] else ""
    return f"training: {', '.join(filter(None, (at, epoch, loss)))}"


def _trial_summary(trial: dict[str, Any], best: dict[str, Any], number: int, most: int) -> str:
    found = trial.get("FinalHyperParameterTuningJobObjectiveMetric")
    value = f"{found['MetricName']} {found['Value']:.5g}" if found else trial.get("FailureReason", "no result")
    early = " (stopped early)" if trial["TrainingJobStatus"] == "Stopped" else ""
    tuned = ", ".join(f"{name} {shortened(value)}" for name, value in sorted(trial["TunedHyperParameters"].items()))
    mark = ", the best so far" if trial["TrainingJobName"] == best.get("TrainingJobName") else ""
    return f"{number} of {most}: {value}{early}{mark}; {tuned}"


def _job_summary(job: dict[str, Any]) -> str:
    trained = job.get("TrainingTimeInSeconds") or 0
    billed = job.get("BillableTimeInSeconds") or 0
    metrics = ", ".join(
        f"{metric['MetricName']} {metric['Value']:.4f}"
        for metric in job.get("FinalMetricDataList", [])
        if metric["MetricName"].startswith("test:")
    )
    saved = f", {100 * (1 - billed / trained):.0f} % saved by spot" if trained and billed else ""
    return f"Completed: {trained} s of training, {billed} s billed{saved}. {metrics}"


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
