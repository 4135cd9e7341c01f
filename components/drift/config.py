"""The section `validation.drift` of an experiment. Does not import TensorFlow."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import Field

from trainer_module.data.features import Categorical, FeatureSpec, Label, Numeric
from trainer_module.frozen import Frozen
from trainer_module.suggestions import did_you_mean

Measure: TypeAlias = Literal["l_infinity", "jensen_shannon", "new_tokens", "label_shift"]
Kind: TypeAlias = Literal["tokens", "numbers", "label"]

MEASURES_OF: Mapping[Kind, tuple[Measure, ...]] = {
    "tokens": ("l_infinity", "jensen_shannon", "new_tokens"),
    "numbers": ("l_infinity", "jensen_shannon"),
    "label": ("l_infinity", "jensen_shannon", "label_shift"),
}


class DriftThresholds(Frozen):
    """Largest allowed values of one column; a measure without one takes its threshold from history.

    Attributes:
        l_infinity: Largest difference of a token's, or of a bin's, share of the rows.
        jensen_shannon: Jensen-Shannon divergence of the distributions, in bits.
        new_tokens: Share of tokens that the earlier data do not have.
        label_shift: Difference of the label's mean, in standard deviations of the earlier labels.
    """

    l_infinity: float | None = Field(default=None, ge=0, le=1)
    jensen_shannon: float | None = Field(default=None, ge=0, le=1)
    new_tokens: float | None = Field(default=None, ge=0, le=1)
    label_shift: float | None = Field(default=None, ge=0)


class DriftConfig(Frozen):
    """What happens when new data differ from earlier data.

    Attributes:
        action: `stop` ends the run before the Trainer, `warn` reports only, `never` does not compare.
        columns: Thresholds by column; all others follow from history.
    """

    action: Literal["stop", "warn", "never"] = "warn"
    columns: dict[str, DriftThresholds] = {}

    def check(self, features: FeatureSpec) -> None:
        """Checks that every threshold belongs to a column that is compared, and to its kind.

        Raises:
            ValueError: One does not; names the key, and what fits.
        """
        kinds = compared_columns(features)
        for name, thresholds in self.columns.items():
            if name not in kinds:
                raise ValueError(
                    f"validation.drift.columns: no column {name!r} is compared. {did_you_mean(name, list(kinds))}"
                    f"Columns: {', '.join(kinds)}"
                )
            for measure in thresholds.model_dump(exclude_none=True):
                if measure not in MEASURES_OF[kinds[name]]:
                    raise ValueError(
                        f"validation.drift.columns.{name}.{measure}: this column takes "
                        f"{', '.join(MEASURES_OF[kinds[name]])}. Leave it out"
                    )


def compared_columns(features: FeatureSpec) -> dict[str, Kind]:
    """The columns that are compared and their kinds: inputs of the model that repeat no other column, and labels."""
    kinds: dict[str, Kind] = {}
    for column in features.columns:
        if isinstance(column, Categorical) and column.counted:
            kinds[column.name] = "tokens"
        elif isinstance(column, Numeric):
            kinds[column.name] = "numbers"
        elif isinstance(column, Label):
            kinds[column.name] = "label"
    return kinds
