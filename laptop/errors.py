"""How the laptop refuses a call: with the error code, message and HTTP status that AWS uses."""

from __future__ import annotations


class ServiceError(Exception):
    """An AWS API error. `code` is the service's own, for example `ValidationException` or `ResourceInUse`."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
