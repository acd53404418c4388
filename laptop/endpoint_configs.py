"""SageMaker endpoint configs: what CreateEndpointConfig checks for each kind of hosting.

Behaviour and messages follow the SageMaker API reference. A config in use can't be deleted here: the reference says
"you must not", and the laptop holds you to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from laptop import asynchronous, inference_components, serverless
from laptop.account import Account
from laptop.errors import ServiceError
from laptop.models import Models, arn
from laptop.sagemaker_common import read_tags, rows_page
from mlplatform.capacity import types_of


class EndpointConfigs:
    """All endpoint configs of the account."""

    def __init__(self, account: Account, models: Models, in_use: Callable[[str], str | None]) -> None:
        """`in_use` gives the ARN of an endpoint that uses a config, if there is one."""
        self.account, self.models, self._in_use = account, models, in_use
        self.all: dict[str, dict[str, Any]] = {}
        self._lock = threading.RLock()

    def create(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["EndpointConfigName"]
        variants = request.get("ProductionVariants", [])
        with self._lock:
            if name in self.all:
                raise ServiceError(
                    "ValidationException",
                    f'Cannot create already existing endpoint configuration "{arn("endpoint-config", name)}".',
                )
        names = [variant["VariantName"] for variant in variants]
        if len(set(names)) != len(names):
            raise ServiceError("ValidationException", "The variant names of an endpoint configuration must be unique.")
        assert_traffic({variant["VariantName"]: variant.get("InitialVariantWeight", 1.0) for variant in variants})
        for variant in variants:
            if not (types_of(variant) or "ServerlessConfig" in variant):
                raise ServiceError(
                    "ValidationException",
                    f"Variant {variant['VariantName']}: a variant has an InstanceType or a ServerlessConfig.",
                )
            if "ServerlessConfig" in variant and "ModelName" not in variant:
                raise ServiceError("ValidationException", "ModelName is required for a serverless variant.")
            model = self.models.get(variant["ModelName"]) if "ModelName" in variant else {}
            if "ServerlessConfig" in variant:
                serverless.check_config(request, model)
        inference_components.check_config(request)
        for unsupported in ("ShadowProductionVariants", "ExplainerConfig"):
            if request.get(unsupported):
                raise ServiceError("ValidationException", f"The laptop does not run {unsupported}.")
        asynchronous.read_config(request)
        tags = read_tags(request.get("Tags"))
        with self._lock:
            self.account.tags[arn("endpoint-config", name)] = tags
            self.all[name] = {
                **{key: value for key, value in request.items() if key != "Tags"},
                "ProductionVariants": [
                    {
                        **({} if "ServerlessConfig" in variant else {"InitialInstanceCount": 1}),
                        "InitialVariantWeight": 1.0,
                        **variant,
                    }
                    for variant in variants
                ],
                "EndpointConfigArn": arn("endpoint-config", name),
                "CreationTime": self.account.clock.now(),
            }
        return {"EndpointConfigArn": arn("endpoint-config", name)}

    def get(self, name: str) -> dict[str, Any]:
        with self._lock:
            if name not in self.all:
                where = arn("endpoint-config", name)
                raise ServiceError("ValidationException", f'Could not find endpoint configuration "{where}".')
            return self.all[name]

    def describe(self, request: dict[str, Any]) -> dict[str, Any]:
        return dict(self.get(request["EndpointConfigName"]))

    def list_(self, request: dict[str, Any]) -> dict[str, Any]:
        shown = ("EndpointConfigName", "EndpointConfigArn", "CreationTime")
        with self._lock:
            rows = [{key: config[key] for key in shown} for config in self.all.values()]
        return rows_page(rows, request, "EndpointConfigs", "EndpointConfigName")

    def delete(self, request: dict[str, Any]) -> dict[str, Any]:
        name = request["EndpointConfigName"]
        self.get(name)
        if user := self._in_use(name):
            raise ServiceError(
                "ValidationException",
                f'Cannot delete endpoint configuration "{arn("endpoint-config", name)}" '
                f'while endpoint "{user}" uses it.',
            )
        with self._lock:
            self.all.pop(name, None)
            self.account.tags.pop(arn("endpoint-config", name), None)
        return {}


def assert_traffic(weights: Mapping[str, float]) -> None:
    """The service model refuses a negative weight; that all of them are 0 is refused here, for a variant's share of the
    traffic is its weight divided by their sum (ProductionVariant, API reference). Raises ServiceError."""
    if weights and not sum(weights.values()):
        raise ServiceError(
            "ValidationException", f"At least one variant must have a weight greater than 0: {', '.join(weights)}."
        )
