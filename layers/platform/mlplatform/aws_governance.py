"""What functions made: its tags and its end, alone or with the stack: a part of Aws (aws.py)."""

from __future__ import annotations

from collections.abc import Iterable

from mlplatform import names
from mlplatform.aws_endpoints import EndpointCalls
from mlplatform.decisions import EndEndpoint, EndResource, TagResource, WarnOfEnd
from mlplatform.facts import Owned


class GovernanceCalls(EndpointCalls):
    """Mixed into Aws."""

    # ---- facts ----

    def stack_status(self, stack_id: str) -> str:
        """CloudFormation's StackStatus; Raises AwsError where there never was such a stack."""
        from mlplatform import aws_owned  # one function alone pays for its import

        return aws_owned.stack_status(self._call, stack_id)

    def owned(self) -> tuple[Owned, ...]:
        """What is left of what the stack's functions made."""
        from mlplatform import aws_owned  # as above

        return aws_owned.read_owned(self._call, self._settings.stack_name)

    def running_configs(self, endpoints: Iterable[str]) -> frozenset[str]:
        """Names of the configs that these endpoints run with, and of their models."""
        from mlplatform import aws_owned  # as above

        return aws_owned.running_configs(self._call, endpoints)

    # ---- decisions ----

    def _warn_of_end(self, decision: WarnOfEnd) -> WarnOfEnd:
        """The message first: a day that nobody was told of must not come. Told twice is better than never."""
        self._announce(decision)
        self._call(
            "sagemaker",
            "add_tags",
            ResourceArn=decision.config_arn,
            Tags=names.tag_list(decision.tags),
        )
        return decision

    def _end_endpoint(self, decision: EndEndpoint) -> EndEndpoint:
        """The message first, as with a warning: of an endpoint that is gone nobody would be told any more."""
        self._announce(decision)
        self._end_parking(decision.config_arn, decision.alarms)
        if decision.running:
            self._delete_endpoint(decision.endpoint_name, has_component=decision.has_component)
        return decision

    def _tag_resource(self, decision: TagResource) -> TagResource:
        if decision.kind == "alarm":
            self._call("cloudwatch", "tag_resource", ResourceARN=decision.arn, Tags=names.tag_list(decision.tags))
        else:
            self._call("sagemaker", "add_tags", ResourceArn=decision.arn, Tags=names.tag_list(decision.tags))
        return decision

    def _end_resource(self, decision: EndResource) -> EndResource:
        from mlplatform import aws_owned  # as above

        aws_owned.end(self._call, decision)
        return decision
