"""Every error the platform raises.

    PlatformError
    ├── UserError            the data or the job spec: people must change something
    │   └── DataRejected     a drop that can't be trained on; becomes a rejection, never a failed function
    ├── SettingsError        the function's environment
    ├── BadEvent             an event that no code path understands
    ├── AwsError             AWS refused or failed a call; carries service, operation and code
    ├── SlackError           Slack did not take a message; never holds the webhook's address
    ├── UnknownPrice         something costs money, and the price list does not say how much
    ├── NotAsPlanned         AWS did something else than it was asked for; the costly part has been stopped
    └── TryAgain             nothing is wrong, but now is too early: Lambda's retries are the cure

A message says where, what, and what to try. Errors that leave a handler are retried by Lambda and end, if they
don't heal, in the function's failure destination, whose alarm reaches people.
"""

from __future__ import annotations

# How SageMaker says that a role, a model's artifact or an input is not there.
_MISSING = (
    "could not assume role",
    "could not find model data",
    "could not access model data",
    "no s3 objects found under s3 url",
)


class PlatformError(Exception):
    """The root of the tree."""


class UserError(PlatformError):
    """Somebody's data or job spec is at fault; the message is meant for that person."""


class DataRejected(UserError):
    """A drop that can't be trained on. The message is one sentence for the verdict: file, row, column, what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class SettingsError(PlatformError):
    """Environment variables are missing or ill-formed; the message lists all of them."""


class BadEvent(PlatformError):
    """The event lacks what its source documents; the message says which part."""


class AwsError(PlatformError):
    """AWS refused or failed a call."""

    def __init__(self, service: str, operation: str, code: str, message: str, hint: str = "") -> None:
        super().__init__(f"{service} {operation} failed with {code}: {message}{'. ' + hint if hint else ''}")
        self.service = service
        self.operation = operation
        self.code = code
        self.aws_message = message

    @property
    def limit_reached(self) -> bool:
        """Whether a quota forbids it (Errors of CreateTrainingJob, CreateEndpoint, ..., SageMaker API reference)."""
        return self.code == "ResourceLimitExceeded"

    @property
    def denied(self) -> bool:
        """Whether the caller has no right to it; services have codes of their own ("Common Errors", API references)."""
        return self.code in {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}

    @property
    def missing(self) -> str:
        """What the call stands on and is gone, role, bucket, object or key, and what to do; empty for all else.

        No attempt cures it before somebody puts that back. SageMaker has no codes of its own for it, but words
        (github.com/awslabs/predictive-maintenance-using-machine-learning/issues/3 for roles,
        github.com/aws/aws-step-functions-data-science-sdk-python/issues/61 for model data,
        github.com/aws/amazon-sagemaker-examples/issues/2489 for other objects).
        """
        text = self.aws_message.strip()
        if any(words in text.lower() for words in _MISSING) or self.code == "NoSuchBucket":
            said = text.partition(". ")[0].rstrip(".")
            return f"AWS says: {said}. Put it back; what is the stack's own comes back with a deployment of the stack"
        if self.code.startswith("KMS"):
            return f"AWS says: {text.rstrip('.')}. Enable the key again, or cancel its deletion"
        return ""

    @property
    def no_zero(self) -> str:
        """That the region has no scaling to zero, and what AWS says; empty for all else. No list tells which have it:
        one refused "MinInstanceCount: 0" that another took (github.com/stdapi-ai/stdapi.ai/issues/43)."""
        text = self.aws_message.strip().rstrip(".")
        refused = "min instance count needs to be greater than 0" in text.lower()
        return f"SageMaker does not scale to zero in this region: {text}" if refused else ""


class SlackError(PlatformError):
    """Slack did not take a message. The webhook's address is a secret and is in no message of this error."""


class UnknownPrice(PlatformError):
    """The price list has no row for it; the message names it. Never a zero."""


class NotAsPlanned(PlatformError):
    """What was created is not what was asked for, and has been stopped; the message says what differs."""


class TryAgain(PlatformError):
    """Something else has to finish first; the event must be delivered again, which a raised error brings about."""
