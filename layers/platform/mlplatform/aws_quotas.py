"""What the account may have of SageMaker, as its quotas say."""

from __future__ import annotations

import time
from collections.abc import Mapping

from mlplatform.aws_calls import Calls
from mlplatform.errors import AwsError

_KEPT_SECONDS = 60.0  # a batch of drops asks once; who has just got more need not wait for it
# Forbidden, not there, or asked for too often: the list has dozens of pages.
_NOT_TOLD = {"AccessDeniedException", "NoSuchResourceException", "TooManyRequestsException"}


class QuotaCalls(Calls):
    """The part of Aws that asks Service Quotas."""

    _quotas: Mapping[str, float] | None = None
    _quotas_at = 0.0

    def quotas(self) -> Mapping[str, float]:
        """SageMaker's quotas by name; none where the account does not tell them. Raises AwsError for what heals."""
        if self._quotas is not None and time.monotonic() < self._quotas_at + _KEPT_SECONDS:
            return self._quotas
        try:
            pages = self._pages("service-quotas", "list_service_quotas", ServiceCode="sagemaker", MaxResults=100)
            found = {one["QuotaName"]: float(one["Value"]) for page in pages for one in page.get("Quotas", ())}
        except AwsError as error:
            # SageMaker holds to its quotas all the same, and what it refuses is told; only later.
            if error.code not in _NOT_TOLD:
                raise
            found = {}
        self._quotas, self._quotas_at = found, time.monotonic()
        return found
