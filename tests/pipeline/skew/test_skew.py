"""Skew that was planted in a log is found, and nothing else."""

import base64
import json

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import prediction_log_pb2

from pipeline.exit_codes import FAILED, SKEWED, UNCHECKED
from pipeline.skew.logs import read_calls
from pipeline.skew.report import Thresholds
from pipeline.skew.skew import _rows_at_once, find_skew
from tests.pipeline.skew.conftest import padded, rows
from trainer_module.errors import ConfigError, DataError

TOLERANCE = 1e-4


def found(pushed, *logs, **settings):
    report = find_skew(pushed.version, logs, pushed.statistics, Thresholds(), TOLERANCE, **settings)
    return report, {(each.subject, each.measure): each for each in report.skewed}


def test_a_log_of_the_pushed_model_on_rows_like_the_training_rows_has_no_skew(pushed, tmp_path):
    report, skewed = found(pushed, pushed.log(tmp_path / "log.jsonl", rows(600, seed=1)))
    assert not skewed
    assert (report.calls, report.rows, report.unanswered, report.not_asked) == (200, 600, 0, 0)
    (compared,) = report.compared
    assert (compared.output, compared.rows, compared.differing) == ("probability", 600, 0)
    measured = {(each.subject, each.measure): each.value for each in report.measured}
    assert measured["price", "missing values"] < 0.05
    assert measured["color", "out of vocabulary"] == 0
    assert measured["price", "out of range"] < 0.01


def test_answers_of_an_earlier_version_are_not_repeated(pushed, tmp_path):
    log = pushed.log(tmp_path / "log.jsonl", rows(300, seed=1), version=1)
    report, skewed = found(pushed, log)
    assert list(skewed) == [("predict: probability", "differing answers")]
    (compared,) = report.compared
    assert (compared.differing, compared.rows) == (300, 300)
    assert compared.largest == pytest.approx(1.0, abs=1e-5)
    assert f"{log}, line 1, row 1: " in compared.first


def test_a_column_in_upper_case_is_out_of_vocabulary_and_of_another_distribution(pushed, tmp_path):
    columns = rows(300, seed=1)
    columns["color"] = [color.upper() for color in columns["color"]]
    _, skewed = found(pushed, pushed.log(tmp_path / "log.jsonl", columns))
    assert set(skewed) == {("color", "L-infinity"), ("color", "out of vocabulary")}
    assert skewed["color", "out of vocabulary"].value == 1
    assert skewed["color", "L-infinity"].note == "(all others): 0.000 in training, 1.000 here"


def test_a_scaled_number_diverges_and_leaves_the_range(pushed, tmp_path):
    columns = rows(300, seed=1)
    columns["price"] = [price * 100 for price in columns["price"]]
    _, skewed = found(pushed, pushed.log(tmp_path / "log.jsonl", columns))
    assert set(skewed) == {("price", "Jensen-Shannon"), ("price", "out of range")}
    # Missing numbers, a tenth, are no numbers.
    assert skewed["price", "out of range"].value == 1
    assert "above 8.99" in skewed["price", "Jensen-Shannon"].note


def test_a_number_scaled_within_the_range_diverges(pushed, tmp_path):
    columns = rows(300, seed=1)
    columns["price"] = [2 + (price - 1) / 8 for price in columns["price"]]
    _, skewed = found(pushed, pushed.log(tmp_path / "log.jsonl", columns))
    assert list(skewed) == [("price", "Jensen-Shannon")]


def test_missing_numbers_are_compared_with_those_of_the_training_split(pushed, tmp_path):
    columns = rows(300, seed=1)
    columns["price"] = [np.nan] * 300
    _, skewed = found(pushed, pushed.log(tmp_path / "log.jsonl", columns))
    assert skewed["price", "missing values"].value == pytest.approx(0.9, abs=0.02)


def test_another_client_s_preprocessing_is_an_answer_that_is_not_repeated(pushed, tmp_path):
    """The log is written before the client strips what the model then sees."""
    log = pushed.log(
        tmp_path / "log.jsonl", rows(300, seed=1), asked=lambda row: row | {"color": "green", "tags": row["tags"]}
    )
    _, skewed = found(pushed, log)
    assert ("predict: probability", "differing answers") in skewed
    assert ("color", "L-infinity") in skewed


def test_columns_that_lack_or_are_unknown_and_values_of_another_type_are_named(pushed, tmp_path):
    columns = rows(30, seed=1)

    def renamed(row):
        return {"colour": row["color"], "tags": row["tags"], "price": str(row["price"])}

    log = pushed.log(tmp_path / "log.jsonl", columns, asked=renamed)
    report, skewed = found(pushed, log)
    assert set(skewed) == {("color", "missing column"), ("colour", "unknown column"), ("price", "wrong type")}
    assert skewed["price", "wrong type"].note.endswith(f"instead of a number in {log}, line 1")
    assert (report.rows, report.not_asked) == (30, 30)


def test_ids_sent_as_numbers_are_values_of_another_type_and_the_server_s_refusal_is_counted(pushed, tmp_path):
    file = tmp_path / "log.jsonl"
    inputs = {"color": [1, 2], "tags": [["new"], [""]], "price": [1.5, 2.5]}
    line = {"request": {"signature_name": "predict", "inputs": inputs}, "response": {"error": "not of expected type"}}
    file.write_text(json.dumps(line))
    report, skewed = found(pushed, file)
    assert skewed["color", "wrong type"].note == f"the number 1 instead of a token in {file}, line 1"
    assert report.unanswered == 1


def test_what_the_pushed_model_refuses_and_the_server_answered_is_skew(pushed, tmp_path):
    good = {"color": ["red"], "tags": [["new"]], "price": [1.5]}
    ((score,),) = [
        tf.saved_model.load(str(pushed.version)).signatures["predict"](**tensors(good))["probability"].numpy()
    ]
    file = tmp_path / "log.jsonl"
    requests = [good, good | {"tags": [[["new"]]]}]
    lines = [
        {"request": {"signature_name": "predict", "inputs": r}, "response": {"outputs": [float(score)]}}
        for r in requests
    ]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    report, skewed = found(pushed, file)
    assert skewed["answers", "refused by the model"].value == 0.5
    assert report.compared[0].differing == 0


def test_lists_of_calls_with_other_lengths_are_asked_as_one(pushed, tmp_path):
    """More rows than one batch, in requests whose lists have one to three tags."""
    report, skewed = found(pushed, pushed.log(tmp_path / "log.jsonl", rows(3000, seed=1)))
    assert not skewed
    assert report.compared[0].rows == 3000


@pytest.mark.parametrize("form", ["tfrecord", "tfrecord.gz", "json"])
def test_logs_of_the_request_logger_are_read(pushed, tmp_path, form):
    signature = tf.saved_model.load(str(pushed.version)).signatures["predict"]
    columns = {name: values[:90] for name, values in rows(90, seed=1).items()}
    records = padded([dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)])
    logs = []
    for record in records:
        log = prediction_log_pb2.PredictionLog()
        request, response = log.predict_log.request, log.predict_log.response
        request.model_spec.signature_name = "predict"
        response.model_spec.version.value = 7
        inputs = tensors({name: [value] for name, value in record.items()})
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        for name, value in signature(**inputs).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        logs.append(log)
    file = tmp_path / f"log.{form}"
    if form == "json":
        file.write_text("\n".join(json_format.MessageToJson(log, indent=None) for log in logs))
    else:
        with tf.io.TFRecordWriter(str(file), "GZIP" if form.endswith("gz") else "") as writer:
            for log in logs:
                writer.write(log.SerializeToString())
    report, skewed = found(pushed, file)
    assert (report.calls, report.compared[0].rows, report.compared[0].differing) == (90, 90, 0)
    assert report.versions == {7: 90}
    assert not skewed


def test_serialized_examples_are_taken_apart(pushed, tmp_path):
    def example(**features):
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    price = tf.train.Feature(float_list=tf.train.FloatList(value=[2.0]))
    color = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"red"]))
    number = tf.train.Feature(int64_list=tf.train.Int64List(value=[7]))
    examples = [example(color=color, price=price), example(color=color, price=price, size=number)]
    model = tf.saved_model.load(str(pushed.version))
    answers = model.signatures["serving_default"](examples=tf.constant(examples))["probability"].numpy().tolist()
    instances = [{"b64": base64.b64encode(each).decode()} for each in examples]
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps({"request": {"instances": instances}, "response": {"predictions": answers}}))
    report, skewed = found(pushed, file)
    assert report.compared[0].differing == 0 and report.compared[0].rows == 2
    assert {subject for subject, measure in skewed if measure == "unknown column"} == {"size"}
    # A number for a token is refused by the model, and named.
    file.write_text(
        json.dumps(
            {
                "request": {"instances": [{"b64": base64.b64encode(example(color=number)).decode()}]},
                "response": {"predictions": [1.0]},
            }
        )
    )
    _, skewed = found(pushed, file)
    assert skewed["color", "wrong type"].note.startswith("the number 7 instead of a token")
    assert ("answers", "refused by the model") in skewed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "[1]; expected"),
        ('{"a": 1}', "keys a; expected"),
        ('{"request": {}, "response": {"predictions": []}}', "neither instances nor inputs"),
        ('{"request": {"instances": [{}], "inputs": {}}, "response": {}}', "instances and inputs"),
        ('{"request": {"instances": 3}, "response": {"predictions": []}}', "instances is 3; expected a list of rows"),
        ('{"request": {"instances": [{"a": {"b64": "?"}}]}, "response": {"predictions": [1]}}', 'b64 is "?"'),
        ('{"request": {"inputs": {"a": [1]}}, "response": {}}', "neither predictions, outputs nor error"),
        ('{"predict_log": {"request": 1}}', "not a PredictionLog"),
    ],
)
def test_a_line_that_is_no_call_is_named(tmp_path, line, message):
    file = tmp_path / "log.jsonl"
    file.write_text(f"\n{line}\n")
    (error,) = read_calls([file])
    assert str(error).startswith(f"{file}, line 2: ") and message in str(error)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"predict_log": {}}', "holds no row"),
        (
            '{"request": {"signature_name": "predic", "inputs": {"a": [1]}}, "response": {"outputs": [1]}}',
            "Did you mean",
        ),
        ('{"request": {"signature_name": "predict", "inputs": [1]}, "response": {"outputs": [1]}}', "names no inputs"),
        ('{"request": {"instances": ["x"]}, "response": {"predictions": [1]}}', "no serialized tf.Example"),
        ('{"request": {"instances": [{"a": 1}]}, "response": {"predictions": [1]}}', "the request holds a"),
    ],
)
def test_a_call_that_is_none_of_this_model_is_named(pushed, tmp_path, line, message):
    file = pushed.log(tmp_path / "log.jsonl", rows(3, seed=1))
    file.write_text(f"{file.read_text()}\n{line}\n")
    with pytest.raises(DataError) as caught:
        found(pushed, file)
    assert str(caught.value).startswith(f"{file}, line 3: ") and message in str(caught.value)
    report, _ = found(pushed, file, max_bad_lines=1)
    assert report.calls == 1 and len(report.bad_lines) == 1


def test_files_that_cannot_be_read_are_named(pushed, tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    with pytest.raises(DataError, match="holds no call"):
        found(pushed, empty)
    with pytest.raises(DataError, match=r"nothing\.jsonl cannot be read: no such file"):
        found(pushed, tmp_path / "nothing.jsonl")
    cut = tmp_path / "cut.tfrecord"
    with tf.io.TFRecordWriter(str(cut)) as writer:
        writer.write(b"x" * 40)
    cut.write_bytes(cut.read_bytes()[:-6])
    with pytest.raises(DataError, match="is damaged"):
        found(pushed, cut)
    with pytest.raises(DataError, match="holds no statistics"):
        find_skew(pushed.version, [empty], empty, Thresholds(), TOLERANCE)


def test_columns_can_be_left_out(pushed, tmp_path):
    columns = rows(300, seed=1)
    columns["price"] = [price * 100 for price in columns["price"]]
    log = pushed.log(tmp_path / "log.jsonl", columns)
    assert not found(pushed, log, ignored=["price"])[1]
    with pytest.raises(ConfigError, match=r"--ignore prize: the model has no such input\. Did you mean price\?"):
        found(pushed, log, ignored=["prize"])


def test_the_command_prints_the_worst_first_and_exits_with_4(pushed, tmp_path, command_line):
    columns = rows(300, seed=1)
    columns["price"] = [price * 100 for price in columns["price"]]
    pushed.log(tmp_path / "skewed.jsonl", columns)
    pushed.log(tmp_path / "good.jsonl", rows(300, seed=1))
    options = ["--model", str(pushed.version), "--statistics", str(pushed.statistics)]
    good = command_line("skew", "--logs", "good.jsonl", *options, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert "no skew found" in good.stdout
    skewed = command_line("skew", "--logs", "skewed.jsonl", *options, cwd=tmp_path)
    assert skewed.returncode == SKEWED
    first, second = (skewed.stdout.index(measure) for measure in ("out of range", "Jensen-Shannon"))
    assert first < second < skewed.stdout.index("within thresholds")
    allowed = command_line(
        *("skew", "--logs", "skewed.jsonl", *options, "--max-out-of-range", "1", "--max-jensen-shannon", "1", "--json"),
        cwd=tmp_path,
    )
    assert allowed.returncode == 0
    answer = json.loads(allowed.stdout)
    assert (answer["rows"], answer["skew"]) == (300, [])
    missing = command_line("skew", "--logs", "good.jsonl", "--model", str(pushed.version), cwd=tmp_path)
    assert missing.returncode == FAILED
    assert "metadata.sqlite is not there" in missing.stderr


def without_answers(log, tmp_path):
    file = tmp_path / "requests.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    file.write_text("".join(f"{json.dumps(line | {'response': {'error': 'no'}})}\n" for line in lines))
    return file


def test_a_log_without_answers_is_no_pass_unless_columns_alone_are_asked_for(pushed, tmp_path):
    log = without_answers(pushed.log(tmp_path / "log.jsonl", rows(300, seed=1)), tmp_path)
    report, skewed = found(pushed, log)
    assert not skewed
    assert report.unchecked == (
        "no answer was compared: no call has an answer in the log. Log the responses, too, or compare columns alone "
        "with --columns-only",
    )
    report, skewed = found(pushed, log, columns_only=True)
    assert not skewed and not report.unchecked and report.measured


def test_rows_that_cannot_be_asked_again_are_no_pass(pushed, tmp_path):
    """What differs is ignored, so that nothing else would tell."""
    log = pushed.log(
        tmp_path / "log.jsonl", rows(300, seed=1), asked=lambda row: {name: row[name] for name in ("tags", "price")}
    )
    report, skewed = found(pushed, log, ignored=["color"])
    assert not skewed and report.not_asked == 300
    assert report.unchecked == (
        "no answer was compared: no row could be asked again, because their columns are not those of the signature",
    )


def test_a_log_of_bad_lines_alone_is_no_pass(pushed, tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text("{\n[]\n")
    report, skewed = found(pushed, file, max_bad_lines=2)
    assert not skewed and len(report.unchecked) == 2
    assert "no line of the log is a call of this model" in report.unchecked[0]
    assert "no column was compared" in report.unchecked[1]


def test_every_column_may_be_ignored_as_long_as_answers_are_compared(pushed, tmp_path):
    log = pushed.log(tmp_path / "log.jsonl", rows(300, seed=1))
    report, skewed = found(pushed, log, ignored=["color", "tags", "price"])
    assert not skewed and not report.unchecked


def test_the_command_exits_with_5_where_nothing_was_compared(pushed, tmp_path, command_line):
    without_answers(pushed.log(tmp_path / "log.jsonl", rows(30, seed=1)), tmp_path)
    options = ["--logs", "requests.jsonl", "--model", str(pushed.version), "--statistics", str(pushed.statistics)]
    unchecked = command_line("skew", *options, cwd=tmp_path)
    assert unchecked.returncode == UNCHECKED
    assert "no answer was compared" in unchecked.stdout and "no skew found" not in unchecked.stdout
    columns = command_line("skew", *options, "--columns-only", "--json", cwd=tmp_path)
    assert columns.returncode == 0, columns.stdout + columns.stderr
    assert json.loads(columns.stdout)["unchecked"] == []


def tensors(columns):
    dtypes = {"price": tf.float32}
    return {name: tf.constant(values, dtypes.get(name, tf.string)) for name, values in columns.items()}


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({}, 1024),
        ({"retrieval_index": {"candidates": 1_000}}, 1024),
        ({"retrieval_index": {"candidates": 1_000_000}}, 7),
        ({"two_stage": {"candidates": 200, "items": 1_000_000}}, 7),
    ],
)
def test_rows_that_are_scored_with_every_item_are_asked_few_at_a_time(summary, expected):
    assert _rows_at_once(summary) == expected
