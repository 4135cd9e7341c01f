import pytest

from components.drift.config import DriftConfig, compared_columns
from pipeline.config import load_config
from trainer_module.data.datasets.days import SYNTHETIC_DAYS
from trainer_module.data.datasets.goals import SYNTHETIC_GOALS
from trainer_module.errors import ConfigError

FEATURES = SYNTHETIC_DAYS.spec().features


def test_inputs_and_labels_are_compared():
    kinds = {"user": "tokens", "item": "tokens", "country": "tokens", "device": "tokens", "price": "numbers"}
    assert compared_columns(FEATURES) == kinds | {"clicked": "label"}
    assert compared_columns(SYNTHETIC_GOALS.spec().features)["seconds"] == "label"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"contry": {"l_infinity": 0.1}}, "no column 'contry' is compared. Did you mean country"),
        ({"price": {"new_tokens": 0.1}}, "price.new_tokens: this column takes l_infinity, jensen_shannon"),
        ({"country": {"label_shift": 0.1}}, "takes l_infinity, jensen_shannon, new_tokens"),
    ],
)
def test_thresholds_must_fit_their_columns(columns, message):
    with pytest.raises(ValueError, match=message):
        DriftConfig.model_validate({"columns": columns}).check(FEATURES)
    with pytest.raises(ConfigError, match=message):
        load_config(overrides={"data.dataset": "synthetic-days", "validation.drift.columns": columns})


@pytest.mark.parametrize(
    ("overrides", "action"),
    [
        ({"data.dataset": "synthetic-days"}, "stop"),
        ({"data.dataset": "synthetic-days", "validation.drift.action": "never"}, None),
        ({"data.dataset": "synthetic-days", "validation": {}}, "warn"),
        ({"data.dataset": "synthetic"}, None),
        ({"data.dataset": "synthetic", "validation.drift": {}}, "warn"),
    ],
)
def test_data_are_compared_where_files_have_spans_or_the_experiment_says_so(overrides, action):
    drift = load_config(overrides=overrides).drift
    assert (drift and drift.action) == action
