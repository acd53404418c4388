"""Service Quotas of SageMaker's instance types and serverless endpoints, as names and numbers.

Nothing on the laptop is held to them, except what the platform itself asks about them.

ListServiceQuotas, Service Quotas API reference. The names of the quotas are AWS's ("Amazon SageMaker AI endpoints and
quotas", AWS General Reference: "ml.m5.large for endpoint usage"); the numbers are this account's, and made up: as a new
account, it may have no GPU.
"""

from __future__ import annotations

from typing import Any

from laptop.account import ACCOUNT_ID, REGION, Account
from laptop.errors import ServiceError
from laptop.sagemaker_common import page
from mlplatform.instances import HOSTING, TRAINING, is_gpu
from mlplatform.pipelines import PROCESSING_INSTANCE_TYPE
from mlplatform.quotas import SERVERLESS_CONCURRENCY, SERVERLESS_ENDPOINTS

VALUE = 20.0
SERVERLESS_VALUE = 200.0  # what one endpoint may have at most; AWS gives a new account 10


def install(account: Account) -> None:
    """Registers ListServiceQuotas."""
    account.operations.setdefault("service-quotas", {})["ListServiceQuotas"] = list_service_quotas


def list_service_quotas(request: dict[str, Any]) -> dict[str, Any]:
    if request["ServiceCode"] != "sagemaker":
        raise ServiceError("NoSuchResourceException", f"The laptop tells no quotas of {request['ServiceCode']}.", 400)
    uses = (("training job", TRAINING), ("spot training job", TRAINING), ("endpoint", HOSTING))
    values = {f"{one} for {use} usage": 0.0 if is_gpu(one) else VALUE for use, types in uses for one in sorted(types)}
    values[f"{PROCESSING_INSTANCE_TYPE} for processing job usage"] = VALUE
    values |= {SERVERLESS_ENDPOINTS: VALUE, SERVERLESS_CONCURRENCY: SERVERLESS_VALUE}
    quotas: list[dict[str, Any]] = [
        {
            "ServiceCode": "sagemaker",
            "ServiceName": "Amazon SageMaker",
            "QuotaArn": f"arn:aws:servicequotas:{REGION}:{ACCOUNT_ID}:sagemaker/L-{number:08X}",
            "QuotaCode": f"L-{number:08X}",
            "QuotaName": name,
            "Value": value,
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }
        for number, (name, value) in enumerate(values.items())
    ]
    shown, token = page(quotas, request, lambda quota: quota["QuotaCode"], 100)
    return {"Quotas": shown, **token}
