"""The account that the command line talks to: AWS by the default credentials, or the laptop. The code is the same."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError

from mlplatform import names
from mlplatform.aws_calls import as_aws_error, is_missing
from mlplatform.errors import AwsError
from mlplatform.settings import Settings, read_settings

LAPTOP_REGION = "us-east-1"
AWS_ERRORS = (ClientError, BotoCoreError)


class CommandError(Exception):
    """What the person at the terminal is told, with what to try; exit code 1."""


@dataclass
class Connection:
    """One deployed stack."""

    stack: str
    endpoint_url: str | None  # None: AWS itself
    region: str | None
    _clients: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def _session(self) -> Any:
        if self.endpoint_url is None:
            return boto3.session.Session(region_name=self.region)
        # The laptop takes any credentials for the account's administrator; a real key must not travel there.
        return boto3.session.Session("laptop", "laptop", region_name=self.region or LAPTOP_REGION)

    def client(self, service: str, **options: Any) -> Any:
        """The service's client, made once; with `options`, which are botocore's in place of the usual, another one.

        Raises CommandError where no region is set.
        """
        if options:
            return self._made(service, options)
        if service not in self._clients:
            self._clients[service] = self._made(service, {})
        return self._clients[service]

    def _made(self, service: str, options: Mapping[str, Any]) -> Any:
        # botocore waits 60 s for an answer, as long as a real-time inference may take.
        usual = {"retries": {"mode": "standard"}, "s3": {"addressing_style": "path"} if self.endpoint_url else {}}
        config = Config(**{**usual, **options})
        try:
            return self._session.client(service, endpoint_url=self.endpoint_url, config=config)
        except NoRegionError as error:
            raise CommandError("No AWS region is set. Try --region us-east-1, or AWS_REGION.") from error

    @cached_property
    def s3(self) -> Any:
        return self.client("s3")

    @cached_property
    def sagemaker(self) -> Any:
        return self.client("sagemaker")

    @cached_property
    def logs(self) -> Any:
        return self.client("logs")

    @cached_property
    def autoscaling(self) -> Any:
        return self.client("application-autoscaling")

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """One AWS call, as the layer makes its own (`aws_calls.Call`). Raises AwsError."""
        try:
            return getattr(self.client(service), operation)(**parameters)  # type: ignore[no-any-return]
        except AWS_ERRORS as error:
            raise as_aws_error(service, operation, error) from error

    @cached_property
    def described(self) -> dict[str, Any]:
        """The stack as CloudFormation describes it. Raises CommandError where there is no such stack."""
        try:
            [stack] = self.client("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        except ClientError as error:
            if "does not exist" in str(error):
                if self.endpoint_url:
                    raise CommandError(
                        f"There is no stack {self.stack} on this laptop. If it was torn down: end the laptop with "
                        "Ctrl-C and start it again with `make up`; it deploys the stack anew."
                    ) from error
                raise CommandError(
                    f"There is no stack {self.stack} here. Deploy it with `make deploy`, name yours with --stack, "
                    "or start the laptop with `make up` and add --laptop."
                ) from error
            raise
        return dict(stack)

    @cached_property
    def outputs(self) -> dict[str, str]:
        """By name. Raises CommandError where there is no such stack, or one that is not made yet."""
        found = {output["OutputKey"]: output["OutputValue"] for output in self.described.get("Outputs", [])}
        if not found:
            raise CommandError(f"The stack {self.stack} is {self.described['StackStatus']}: try again when it is made.")
        return found

    @cached_property
    def parameters(self) -> dict[str, str]:
        """What the stack was given, by name. Raises CommandError where there is no such stack."""
        return {one["ParameterKey"]: one["ParameterValue"] for one in self.described.get("Parameters", [])}

    @cached_property
    def settings(self) -> Settings:
        """Those of the deployed function, so that what is planned here is its plan."""
        function = self.client("lambda").get_function_configuration(FunctionName=f"{self.stack}-keep-office-hours")
        region = self.sagemaker.meta.region_name
        return read_settings({**function["Environment"]["Variables"], "AWS_REGION": region})

    def endpoint(self, name: str) -> dict[str, Any] | None:
        """What DescribeEndpoint tells of it; None where there is none."""
        try:
            return self.call("sagemaker", "describe_endpoint", EndpointName=name)
        except AwsError as error:
            if is_missing(error):
                return None
            raise

    def decide(self, function: str, event: Mapping[str, Any]) -> list[dict[str, str]]:
        """What one of the stack's functions decides, each with its reason. Raises CommandError where it fails."""
        answer = self.client("lambda").invoke(
            FunctionName=f"{self.stack}-{function}", Payload=json.dumps(event).encode()
        )
        said = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise CommandError(f"{function} failed: {said.get('errorMessage')}. See mlp logs {function}.")
        return said if isinstance(said, list) else [said]

    def look_again(self, endpoint: str) -> str:
        """Has configure-autoscaling look at an endpoint, as when SageMaker says that it is in service; its reason."""
        event = {
            "source": "aws.sagemaker",
            "detail-type": "SageMaker Endpoint State Change",
            "detail": {"EndpointName": endpoint, "EndpointStatus": "IN_SERVICE"},
        }
        [said] = self.decide("configure-autoscaling", event)
        return said["reason"]

    def now(self) -> datetime:
        """The account's time, to the second: AWS's clock, or the laptop's, which may have been moved."""
        date = self.client("sts").get_caller_identity()["ResponseMetadata"]["HTTPHeaders"].get("date")
        return parsedate_to_datetime(date).astimezone(UTC) if date else datetime.now(UTC)

    @property
    def data_bucket(self) -> str:
        return self.outputs["DataBucketName"]

    def endpoint_name(self, dataset: str) -> str:
        return names.endpoint(self.stack, dataset)

    def function_log_group(self, function_file: str) -> str:
        return f"/aws/lambda/{self.stack}-{function_file.replace('_', '-')}"


def laptop_url() -> str:
    return os.environ.get("AWS_ENDPOINT_URL") or f"http://127.0.0.1:{os.environ.get('PORT', '4566')}"


def explain(error: Exception, connection: Connection) -> str:
    """One sentence for what botocore raised."""
    if isinstance(error, EndpointConnectionError):
        if connection.endpoint_url:
            port = os.environ.get("PORT")
            other = (
                "" if port or os.environ.get("AWS_ENDPOINT_URL") else ", or set PORT if it has another port than this"
            )
            return (
                f"Nothing answers at {connection.endpoint_url}. Start the laptop with `make up"
                f"{f' PORT={port}' if port else ''}` in another terminal{other}."
            )
        return f"AWS cannot be reached: {error}"
    if isinstance(error, NoCredentialsError):
        return "No AWS credentials were found. Run `aws configure`, or add --laptop to use this machine's own account."
    if isinstance(error, ClientError):
        detail = error.response.get("Error", {})
        return f"{error.operation_name} was refused ({detail.get('Code')}): {detail.get('Message')}"
    return str(error)
