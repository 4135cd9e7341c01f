"""The base of all settings."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Frozen(BaseModel):
    """An immutable model that refuses unknown keys."""

    # A number that is none, or is infinite, has no meaning in any setting.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def reasons(error: ValidationError) -> str:
    """What was wrong, without pydantic's own furniture."""
    return "; ".join(detail["msg"].removeprefix("Value error, ") for detail in error.errors())
