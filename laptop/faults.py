"""Failures on order: the next calls of an operation fail as told, to see how the platform takes it."""

from __future__ import annotations

import threading
from typing import Any

from laptop.errors import ServiceError

_UNAVAILABLE = {"ServiceUnavailable", "ServiceUnavailableException", "SlowDown"}
_INTERNAL = {"InternalFailure", "InternalError", "InternalServerError", "InternalServerException", "ServiceException"}


class Faults:
    """What `POST /_laptop/fault` has ordered and no call has met yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[tuple[str, str], list[str]] = {}

    def order(self, request: dict[str, Any]) -> dict[str, Any]:
        """`{"service", "operation", "error_code", "times"}`, the service by botocore's name; `times` is 1 if absent.

        Raises ServiceError for a missing or ill-typed member.
        """
        for name in ("service", "operation", "error_code"):
            if not isinstance(request.get(name), str) or not request[name]:
                raise ServiceError("ValidationException", f"'{name}' must be a non-empty string.")
        times = request.get("times", 1)
        if isinstance(times, bool) or not isinstance(times, int) or not 0 <= times <= 1000:
            raise ServiceError("ValidationException", "'times' must be a whole number from 0 to 1000.")
        with self._lock:
            # A new order replaces what is left of an older one; 0 times cancels it.
            self._left[request["service"], request["operation"]] = [request["error_code"]] * times
        return {"service": request["service"], "operation": request["operation"], "times": times}

    def next(self, service: str, operation: str) -> ServiceError | None:
        """The failure that this call has to meet, if one is left."""
        with self._lock:
            left = self._left.get((service, operation))
            if not left:
                return None
            code = left.pop()
        status = 503 if code in _UNAVAILABLE else 500 if code in _INTERNAL else 400
        if service == "s3" and code == "AccessDenied":
            status = 403
        return ServiceError(code, f"This failure of {service} {operation} was ordered by POST /_laptop/fault.", status)
