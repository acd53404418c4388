"""A judged model is registered, deployed, kept out or asked about: a part of Aws (aws.py)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from mlplatform import names
from mlplatform.aws_calls import is_there
from mlplatform.aws_moves import MoveCalls
from mlplatform.aws_registry import RegistryCalls
from mlplatform.aws_updates import UpdateCalls
from mlplatform.decisions import AskApproval, Decision, DeployModel, KeepLiveModel, Skip
from mlplatform.errors import AwsError, TryAgain
from mlplatform.facts import Ended
from mlplatform.waiting import asked_by


class DeploymentCalls(RegistryCalls, MoveCalls, UpdateCalls):
    """Mixed into Aws."""

    # ---- facts ----

    def outcome_exists(self, dataset: str, job: str) -> bool:
        return self._object_exists(self._settings.artifact_bucket, names.outcome_key(dataset, job))

    def ended(self, since: datetime, until: datetime) -> Iterator[Ended]:
        """Jobs and executions of the stack that ended in between, without their parts. Raises AwsError."""
        from mlplatform.aws_ended import read_ended  # only the clock asks for them

        return read_ended(self._call, self._settings, since, until)

    def dealt_with(self, ended: Ended) -> bool:
        """Whether what follows from an end has been done, and remembered."""
        return any(self._object_exists(self._settings.artifact_bucket, key) for key in ended.outcomes)

    # ---- decisions ----

    def _deploy(self, decision: DeployModel) -> Decision:
        if decision.model_package is not None:
            decision = replace(decision, package=self._register(decision))
        elif decision.card is not None:
            self._put_card(decision.dataset, decision.job_name, decision.card)
            self._put_page(decision.page)
        name = decision.endpoint["EndpointName"]
        try:
            self._create_model(decision.model)
            self._unless(is_there, "sagemaker", "create_endpoint_config", **decision.endpoint_config)
            if decision.replace:
                self._delete_endpoint(name, has_component=decision.has_component)
                raise TryAgain(
                    f"Endpoint {name} was past repair and is being deleted; {decision.job_name} takes its place."
                )
            if decision.parked is not None:
                self._move_parking(decision.parked, decision.job_name, decision.endpoint_tags)
            elif decision.move is not None:
                with self._wished(decision.move.endpoint_name, decision.endpoint_tags):
                    self._make_stand_in(decision.move)
            elif decision.exists:
                self._update_to(decision)
            else:
                self._create_endpoint(decision.endpoint)
        except AwsError as error:
            waiting = asked_by(decision, error)
            if waiting is None:
                raise
            if waiting.update is not None:
                self._call("sagemaker", "update_model_package", **waiting.update)
            return self._finish(waiting)
        if decision.update is not None:
            self._call("sagemaker", "update_model_package", **decision.update)
        return self._finish(decision)

    def _update_to(self, decision: DeployModel) -> None:
        with self._wished(decision.endpoint["EndpointName"], decision.endpoint_tags):
            if decision.component is not None:
                self._update_sleeper(decision.endpoint, decision.component)
            else:
                model = decision.asks or decision.job_name
                self._update_endpoint(decision.endpoint, model, decision.deregister, decision.alarms)

    def _finish(self, decision: DeployModel | KeepLiveModel | AskApproval) -> Decision:
        """Tells people, and then remembers that it is done: under the job's outcome, or under the approval's."""
        bucket = self._settings.artifact_bucket
        outcome = {"decision": type(decision).__name__, "reason": decision.reason, "package": decision.package}
        key = decision.release
        if decision.model_package is not None:
            key = names.outcome_key(decision.dataset, decision.job_name)
            if isinstance(decision, DeployModel):
                version = int(decision.package.rpartition("/")[2])
                self._put_once(bucket, names.release_key(decision.dataset, version, "gate"), outcome)
        if not self._object_exists(bucket, key):
            self._announce(decision)
        if not self._put_once(bucket, key, outcome):
            return Skip(f"{decision.job_name} had its outcome a moment ago: {decision.reason}")
        return decision
