"""The images of AWS's PyTorch containers."""

from __future__ import annotations

import pytest

from mlplatform.containers import inference_image, training_image, xgboost_image
from mlplatform.errors import SettingsError


@pytest.mark.parametrize(
    ("image", "uri"),
    [
        (
            training_image("us-east-1", "ml.m5.xlarge"),
            "763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.6.0-cpu-py312-ubuntu22.04-sagemaker",
        ),
        (
            training_image("eu-west-1", "ml.g4dn.xlarge"),
            "763104351884.dkr.ecr.eu-west-1.amazonaws.com/pytorch-training:2.6.0-gpu-py312-cu126-ubuntu22.04-sagemaker",
        ),
        (
            inference_image("eu-south-2", "ml.c5.large"),
            "503227376785.dkr.ecr.eu-south-2.amazonaws.com/pytorch-inference:2.6.0-cpu-py312-ubuntu22.04-sagemaker",
        ),
        (
            training_image("ap-southeast-6", "ml.m5.xlarge"),
            "633930458069.dkr.ecr.ap-southeast-6.amazonaws.com/pytorch-training:2.6.0-cpu-py312-ubuntu22.04-sagemaker",
        ),
        (
            inference_image("cn-north-1", "ml.p3.2xlarge"),
            "727897471807.dkr.ecr.cn-north-1.amazonaws.com.cn/"
            "pytorch-inference:2.6.0-gpu-py312-cu124-ubuntu22.04-sagemaker",
        ),
        (xgboost_image("us-east-1"), "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5"),
        (xgboost_image("cn-north-1"), "450853457545.dkr.ecr.cn-north-1.amazonaws.com.cn/sagemaker-xgboost:3.0-5"),
    ],
)
def test_an_image_is_the_regions_own_for_its_kind_of_machine(image: str, uri: str) -> None:
    assert image == uri


def test_an_unknown_region_is_said_before_money_is_spent() -> None:
    with pytest.raises(SettingsError, match="mars-north-1"):
        training_image("mars-north-1", "ml.m5.xlarge")
    with pytest.raises(SettingsError, match="XGBoost container is not known to exist in ap-east-2"):
        xgboost_image("ap-east-2")
