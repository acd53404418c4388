"""One Settings, and all that is wrong with it at once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from builders import ENVIRONMENT
from mlplatform import names
from mlplatform.errors import SettingsError
from mlplatform.settings import read_settings


def test_the_templates_variables_become_settings() -> None:
    settings = read_settings(ENVIRONMENT)
    assert (settings.daily_ceiling_usd, settings.holidays) == (Decimal(50), "")
    assert settings.training_max_wait_seconds == 7200
    assert settings.required_tags == {
        "Project": "ml-platform",
        "Environment": "dev",
        "CostCenter": "machine-learning",
        "Owner": "ml-team",
    }
    assert tuple(settings.required_tags) == names.REQUIRED_TAGS


def test_all_bad_variables_are_reported_at_once_with_name_value_and_expected_form() -> None:
    bad = {**ENVIRONMENT, "MAX_INSTANCES": "many", "ENVIRONMENT": "production", "HOSTING_INSTANCE_TYPE": "ml.t3.medium"}
    del bad["OWNER"]
    with pytest.raises(SettingsError) as raised:
        read_settings(bad)
    message = str(raised.value)
    assert message.startswith("Bad environment variables (4):")
    for said in (
        "MAX_INSTANCES is 'many'; expected a whole number from 1 to 100",
        "ENVIRONMENT is 'production'; expected dev, staging or prod",
        "HOSTING_INSTANCE_TYPE is 'ml.t3.medium'; expected a type that SageMaker hosts on",
        "OWNER is not set",
    ):
        assert said in message


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"TRAINING_MAX_WAIT_SECONDS": "3599"}, "at least TRAINING_MAX_RUNTIME_SECONDS (3600)"),
        ({"MIN_INSTANCES": "6"}, "at least MIN_INSTANCES (6)"),
        ({"TRAINING_INSTANCE_TYPE": "ml.c5.large"}, "TRAINING_INSTANCE_TYPE"),
        ({"MIN_INSTANCES": "0"}, "MIN_INSTANCES"),
        ({"TRAINING_MAX_RUNTIME_SECONDS": "2419201"}, "TRAINING_MAX_RUNTIME_SECONDS"),
        ({"MODEL_CODE_DIGEST": "xyz"}, "hexadecimal"),
        ({"OWNER": "a;b"}, "as tags allow"),
        ({"STACK_NAME": "ML-Platform"}, "lower-case"),
        ({"TIME_ZONE": "IST"}, "an IANA time zone"),
        ({"TIME_ZONE": "posix/Europe/Berlin"}, "an IANA time zone"),
        ({"OFFICE_HOURS": "mon-fri 18:00-18:00"}, "OFFICE_HOURS"),
        ({"OFFICE_HOURS": "mon-fri"}, "opening hours such as"),
        ({"OFFICE_HOURS": ""}, "opening hours such as"),
        ({"OFFICE_HOURS": "daily 08:00-18:00 @IST"}, "opening hours such as"),
        ({"TIME_ZONE": "Europe/Nowhere"}, "an IANA time zone"),
        ({"HOLIDAYS": "2026-12-25,christmas"}, "dates as 2026-12-25"),
        ({"HOLIDAYS": "2026-02-30"}, "dates as 2026-12-25"),
        ({"DAILY_CEILING_USD": "0"}, "above 0"),
        ({"MONTHLY_BUDGET_USD": "1e6"}, "above 0"),
        ({"MONTHLY_CEILING_USD": "49.99"}, "at least DAILY_CEILING_USD (50)"),
    ],
)
def test_what_aws_would_refuse_later_is_refused_here(changed: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError, match="Bad environment variables") as raised:
        read_settings(ENVIRONMENT | changed)
    assert said in str(raised.value)


def test_a_network_is_subnets_and_a_security_group_or_neither() -> None:
    assert read_settings(ENVIRONMENT).vpc_config == {}
    network = {"SUBNET_IDS": "subnet-0a,subnet-0b", "SECURITY_GROUP_ID": "sg-0c"}
    assert read_settings({**ENVIRONMENT, **network}).vpc_config == {
        "VpcConfig": {"Subnets": ["subnet-0a", "subnet-0b"], "SecurityGroupIds": ["sg-0c"]}
    }
    with pytest.raises(SettingsError, match="SUBNET_IDS and SECURITY_GROUP_ID are expected both or neither"):
        read_settings({**ENVIRONMENT, "SUBNET_IDS": "subnet-0a"})
