import json

import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.example_validator.anomalies import as_table, findings, stopping
from components.example_validator.component import AnomaliesFound, Executor
from components.run_report.refusal import PageSettings
from trainer_module.data.datasets.criteo import DATASETS as CRITEO
from trainer_module.errors import DataError

ANOMALIES = text_format.Parse(
    """
    anomaly_info {
      key: "gender"
      value {
        severity: ERROR
        reason { short_description: "Unexpected string values" description: "Examples contain values: X (~1%)." }
      }
    }
    anomaly_info {
      key: "age"
      value { severity: WARNING reason { short_description: "High mean" description: "Mean of 99." } }
    }
    """,
    anomalies_pb2.Anomalies(),
)

SCHEMA = """
feature {
  name: "age"
  type: FLOAT
  presence { min_fraction: 1 }
  shape { dim { size: 1 } }
  float_domain { max: 120 }
}
"""


def test_anomalies_become_rows():
    age, gender = findings({"train": ANOMALIES})
    assert (age.feature, age.severity) == ("age", "WARNING")
    assert (gender.split, gender.what) == ("train", "Unexpected string values")


def test_an_anomaly_of_a_whole_split_has_a_row():
    anomalies = anomalies_pb2.Anomalies()
    anomalies.dataset_anomaly_info.severity = anomalies_pb2.AnomalyInfo.ERROR
    anomalies.dataset_anomaly_info.reason.add(short_description="Low num examples")
    (row,) = findings({"test": anomalies})
    assert (row.feature, row.what) == ("(whole split)", "Low num examples")


@pytest.mark.parametrize(("fail_on", "stops"), [("warning", ["age", "gender"]), ("error", ["gender"]), ("never", [])])
def test_severity_decides(fail_on, stops):
    assert [row.feature for row in stopping(findings({"train": ANOMALIES}), fail_on)] == stops


def test_the_table_is_aligned():
    lines = as_table(findings({"train": ANOMALIES})).splitlines()
    assert lines[0].index("feature") == lines[1].index("age") == lines[2].index("gender")
    assert "Examples contain values: X (~1%)." in lines[2]


@pytest.fixture
def validate(tmp_path):
    """Runs the real executor on the statistics of some ages."""

    def run(ages: list[float], fail_on: str, **given) -> anomalies_pb2.Anomalies:
        statistics = standard_artifacts.ExampleStatistics()
        statistics.uri, statistics.split_names = (
            str(tmp_path / "statistics"),
            artifact_utils.encode_split_names(["train"]),
        )
        schema, anomalies = standard_artifacts.Schema(), standard_artifacts.ExampleAnomalies()
        schema.uri, anomalies.uri = str(tmp_path / "schema"), str(tmp_path / "anomalies")
        tf.io.gfile.makedirs(schema.uri)
        (tmp_path / "schema" / "schema.pbtxt").write_text(SCHEMA)
        directory = tmp_path / "statistics" / "Split-train"
        directory.mkdir(parents=True)
        frame = pd.DataFrame({"age": pd.Series(ages, dtype="float32")})
        proto = tfdv.generate_statistics_from_dataframe(frame, n_jobs=1)
        (directory / "FeatureStats.pb").write_bytes(proto.SerializeToString())
        Executor().Do(
            {"statistics": [statistics], "schema": [schema]} | given.pop("inputs", {}),
            {"anomalies": [anomalies]},
            {"exclude_splits": "[]", "fail_on": fail_on} | given,
        )
        content = (tmp_path / "anomalies" / "Split-train" / "SchemaDiff.pb").read_bytes()
        return anomalies_pb2.Anomalies.FromString(content)

    return run


def test_good_data_passes(validate):
    assert not validate([20.0, 30.0], "warning").anomaly_info


def test_bad_data_stops_with_a_table_and_a_way_out(validate):
    with pytest.raises(DataError) as error:
        validate([20.0, 300.0], "error")
    message = str(error.value)
    assert "age" in message and "Out-of-range values" in message
    assert "validation.fail_on=never" in message


def test_a_service_gets_the_page_of_the_stopped_run_from_the_component(validate, tmp_path):
    settings = PageSettings(
        title="shop",
        dataset=CRITEO[0].spec(),
        experiment=json.dumps({"data": {"split": {"by": "random"}}, "model": {"type": "dcn"}}),
        data_dir="gs://bucket/raw",
        upstream={"StatisticsGen": (), "ExampleValidator": ("StatisticsGen",)},
    )
    with pytest.raises(AnomaliesFound) as error:
        validate([20.0, 300.0], "error", page=settings.model_dump_json())
    assert [finding.feature for finding in error.value.findings] == ["age"]
    assert str(error.value).endswith(f"Report: {tmp_path / 'anomalies' / 'report.html'}")
    page = (tmp_path / "anomalies" / "report.html").read_text()
    assert "stopped by anomalies" in page and "no rows were taken in" in page


def test_bad_data_may_be_let_through(validate):
    assert "age" in validate([20.0, 300.0], "never").anomaly_info
