"""The base of all settings."""

from pydantic import BaseModel, ConfigDict, ValidationError


class Frozen(BaseModel):
    """An immutable model that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def reasons(error: ValidationError) -> str:
    """What was wrong, without pydantic's own furniture."""
    return "; ".join(detail["msg"].removeprefix("Value error, ") for detail in error.errors())
