"""Sections against arithmetic by hand, on runs without artifacts."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.drift.findings import Drawing, Measured
from components.drift.report import DriftReport
from components.evaluation.importance import Importance, SampleMetric, Unit, UnitChange
from components.evaluation.row_files import EvaluatedRows, losses, row_schema
from components.retrieval_index.item_vectors import Float32Vectors, Int8Vectors
from components.run_report.artifacts import RunArtifacts, Series, Uris
from components.run_report.card import ModelCard
from components.run_report.page import Chart, Section, Table, Text
from components.run_report.sections import (
    activity,
    clicks,
    columns,
    data,
    drift,
    embeddings,
    importance,
    lists,
    metrics,
    model_card,
    ratings,
    training,
    verdict,
)
from components.run_report.sections.calibration import calibration
from trainer_module.data.datasets.criteo import DATASETS as CRITEO
from trainer_module.data.datasets.movielens import MOVIELENS_100K

RATING = MOVIELENS_100K.spec()
RETRIEVAL = MOVIELENS_100K.model_copy(update={"task": "retrieval", "slices": ("gender",)}).spec()
CLICK = CRITEO[0].spec()
NOWHERE = Uris(anomalies={"train": "nowhere"})


def rows_of(task, columns, slices=("gender",)) -> EvaluatedRows:
    schema = row_schema(task, ("user",), slices)
    missing = [None] * len(next(iter(columns.values())))
    columns = {"row": list(range(len(missing))), "weight": np.ones(len(missing)), **columns}
    arrays = [pa.array(columns.get(field.name, missing), field.type) for field in schema]
    return EvaluatedRows(task, ("user",), pa.Table.from_arrays(arrays, schema=schema))


def run_of(dataset, overall, slices=(), rows=None, card=None, **parts) -> RunArtifacts:
    """A run with what the sections need."""
    summary = {
        "config": {"evaluation": {"cutoffs": [2]}, "data": {"split": {"by": "random"}}, "model": {"type": "rating"}},
        "blessing": parts.pop("blessing", {"push": True, "reason": "all thresholds hold"}),
        "evaluation": {
            "slices": [{"slice": "overall", **overall}, *slices],
            "baselines": [{"metric": "rmse", "value": overall["rmse"], "reference": "biases", "reference_value": 0.5}]
            if "rmse" in overall
            else [],
            "failures": parts.pop("failures", []),
        },
        "examples": {"rows": {"train": 80, "eval": 0, "test": 20}, "bad_rows": parts.pop("bad_rows", 0)},
        "training": {
            "steps": 20,
            "best_step": 10,
            "examples_per_second": 1e3,
            "input_bound_percent": 5.0,
            "table_rows": {"a": 3},
        },
    }
    run = RunArtifacts(dataset, summary, card or ModelCard(), NOWHERE)
    # What it would read from artifacts.
    run.__dict__.update(parts | ({"rows": rows} if rows else {}))
    return run


def table(section: Section, number: int = 0) -> Table:
    return [block for block in section.blocks if isinstance(block, Table)][number]


def titles_of_rows(section: Section) -> list[tuple]:
    """The first two cells of each row of the section's table."""
    return [row[:2] for row in table(section).rows]


def titles(section: Section) -> list[str]:
    return [block.title for block in section.blocks if hasattr(block, "title")]


def rating_run(**parts) -> RunArtifacts:
    labels, predictions = np.array([1.0, 2, 3, 4, 5, 1]), np.array([2.0, 2, 3, 4, 3, 3])
    given = {
        "label": labels,
        "prediction": predictions,
        "naive": np.full(6, 3.0),
        "loss": losses("rating", labels, predictions),
        "slice.gender": ["F", "M", "F", "M", "F", "F"],
    }
    overall = {"rmse": 1.2247, "example_count": 6.0}
    return run_of(RATING, overall, rows=rows_of("rating", given | parts.pop("columns", {})), **parts)


class TestVerdict:
    def test_a_pushed_model_stands_beside_its_baseline(self):
        first, second, *_ = verdict.section(rating_run()).blocks[0].tiles
        assert (first.value, first.note, first.tone) == ("pushed", "all thresholds hold", "good")
        assert (second.value, second.note) == ("1.2247", "biases: 0.5000")

    def test_a_refused_model_says_what_it_missed(self):
        refused = {"push": False, "reason": "a metric misses its threshold"}
        tiles, failure = verdict.section(rating_run(blessing=refused, failures=["rmse is 1.2"])).blocks
        assert (tiles.tiles[0].value, tiles.tiles[0].tone) == ("not pushed", "bad")
        assert failure.text == "rmse is 1.2"


class TestMetrics:
    def test_slices_come_the_worst_first_with_intervals_by_hand(self):
        by_slice = table(metrics.section(rating_run()), 1)
        overall, worst, best = by_slice.rows
        assert overall[0] == "overall"
        assert [row[0] for row in (worst, best)] == ["gender=F", "gender=M"]
        squares = np.array([1.0, 0, 4, 4])
        half = 1.959964 * squares.std(ddof=1) / 2
        expected = np.sqrt([squares.mean(), max(squares.mean() - half, 0), squares.mean() + half])
        assert worst[1:5] == pytest.approx((4, *expected))
        assert best[2] == 0

    def test_a_row_of_weight_2_is_as_wide_as_it_is_heavy(self):
        weights = np.array([2.0, 1, 1, 1, 1, 1])
        by_slice = table(metrics.section(rating_run(columns={"weight": weights})), 1)
        worst = next(row for row in by_slice.rows if row[0] == "gender=F")
        assert worst[1] == 4
        assert worst[3] < worst[2] < worst[4]

    def test_the_change_against_the_last_blessed_model_has_an_interval(self):
        assert "against the last blessed" not in str(metrics.section(rating_run()).blocks)
        better = {"blessed": np.array([9.0, 9, 9, 9, 9, 9])}
        (text,) = [block.text for block in metrics.section(rating_run(columns=better)).blocks if block.kind == "text"]
        assert text.startswith("rmse against the last blessed model on the same test rows: -")
        assert text.endswith("(paired bootstrap): better.")

    def test_higher_is_better_for_lists(self):
        given = {"ranks": [[1], [0], [1], [1]], "slice.gender": ["F", "F", "M", "M"]}
        overall = {"ndcg_at_2": 0.75, "example_count": 4.0}
        by_slice = table(metrics.section(run_of(RETRIEVAL, overall, rows=rows_of("retrieval", given))), 1)
        assert [row[0] for row in by_slice.rows] == ["overall", "gender=F", "gender=M"]
        assert by_slice.descending is False


def goals_run() -> RunArtifacts:
    """A model that predicts clicks and reading times; the last row has no reading time."""
    heads = {"clicked": "click", "seconds": "rating"}
    schema = row_schema("click", ("user",), ("day",), "clicked", heads)
    clicked, seconds = np.array([1.0, 0, 1, 0]), np.array([4.0, 8, 6, np.nan])
    columns = {
        "row": [0, 1, 2, 3],
        "slice.day": ["1", "1", "2", "2"],
        "head.clicked.label": clicked,
        "head.clicked.prediction": np.full(4, 0.5),
        "head.clicked.loss": np.full(4, np.log(2)),
        "head.seconds.label": pa.array(seconds, mask=np.isnan(seconds)),
        "head.seconds.prediction": np.array([5.0, 8, 6, 9]),
        "head.seconds.naive": np.full(4, 6.0),
        "head.seconds.blessed": np.full(4, 6.0),
        "head.seconds.loss": [1.0, 0, 0, None],
    }
    arrays = [pa.array(columns.get(field.name, [None] * 4), field.type) for field in schema]
    table = pa.Table.from_arrays(arrays, schema=schema)
    rows = EvaluatedRows("click", ("user",), table, "clicked", heads)
    overall = {"clicked.log_loss": 0.69, "clicked.example_count": 4.0, "seconds.rmse": 0.58, "seconds.mae": 0.33}
    overall |= {"seconds.example_count": 3.0, "seconds.rmse_diff": 1.0}
    return run_of(CLICK, overall, slices=[{"slice": "day=1", "seconds.mae": 0.5}], rows=rows)


class TestSeveralGoals:
    def test_slices_have_intervals_for_each_head(self):
        section = metrics.section(goals_run())
        assert [row[0] for row in table(section).rows] == ["clicked.log_loss", "seconds.rmse", "seconds.mae"]
        of_clicks, of_seconds = table(section, 1), table(section, 2)
        assert (of_clicks.title, of_seconds.title) == ("clicked: by slice", "seconds: by slice")
        assert [row[:2] for row in of_clicks.rows] == [("overall", 4.0), ("day=1", 2.0), ("day=2", 2.0)]
        # The only other row of day 2 has no reading time, and one row makes no interval.
        overall, day = of_seconds.rows
        assert overall == ("overall", 3.0, 0.58, None, None, 0.33, 1.0)
        assert day[:3] == ("day=1", 2.0, pytest.approx(0.5**0.5)) and day[5] == 0.5

    def test_the_change_of_each_head_has_an_interval(self):
        texts = [block.text for block in metrics.section(goals_run()).blocks if block.kind == "text"]
        assert len(texts) == 1
        assert texts[0].startswith("seconds.rmse against the last blessed model on the same test rows: -")

    def test_each_head_has_the_charts_of_its_task(self):
        assert titles(clicks.section(goals_run()))[0] == "clicked: calibration"
        of_ratings = ratings.section(goals_run())
        assert [title.partition(":")[0] for title in titles(of_ratings)] == ["seconds"] * 5
        assert "mean prediction" in of_ratings.blocks[0].svg
        assert "label: 4; mean residual: 1; series: model" in of_ratings.blocks[2].svg

    def test_the_verdict_names_the_head_that_changed(self):
        tile = verdict.section(goals_run()).blocks[0].tiles[1]
        assert (tile.label, tile.value, tile.tone) == ("seconds.rmse against the last blessed model", "+1.0000", "warn")

    def test_a_head_whose_label_no_row_has_is_not_drawn(self):
        run = goals_run()
        without = run.rows.table.filter(pa.array([False, False, False, True]))
        run.__dict__["rows"] = replace(run.rows, table=without)
        assert ratings.section(run) is None
        assert titles(clicks.section(run))[0] == "clicked: calibration"


class TestRatings:
    def test_there_are_five_charts(self):
        assert titles(ratings.section(rating_run()))[:2] == ["calibration", "prediction minus label"]
        assert len(titles(ratings.section(rating_run()))) == 5

    def test_the_mean_residual_of_a_label(self):
        svg = ratings.section(rating_run()).blocks[2].svg
        # Rows with label 1 are predicted as 2 and 3.
        assert "label: 1; mean residual: 1.5; series: model" in svg

    def test_other_tasks_have_none(self):
        assert ratings.section(TestClicks().run()) is None


class TestClicks:
    LABELS = np.array([1.0, 0, 1, 0, 0, 0, 1, 1])
    SCORES = np.array([0.9, 0.1, 0.8, 0.2, 0.3, 0.4, 0.7, 0.35])

    def run(self) -> RunArtifacts:
        given = {"label": self.LABELS, "prediction": self.SCORES, "logistic": 1 - self.SCORES}
        rows = rows_of("click", given | {"loss": losses("click", self.LABELS, self.SCORES)}, slices=())
        return run_of(CLICK, {"log_loss": 0.3}, rows=rows)

    def test_calibration_by_hand(self):
        predicted, clicked = calibration(np.array([0.0, 1, 1]), np.array([0.25, 0.75, 0.5]), np.ones(3))
        assert predicted == [0.25, 0.5, 0.75]
        assert clicked == [0, 1, 1]

    def test_groups_are_means_by_weight(self):
        predictions, labels = np.arange(20.0), np.arange(20.0) % 2
        weights = np.where(labels == 1, 3.0, 1.0) * (predictions != 4) * (predictions != 5)
        predicted, observed = calibration(labels, predictions, weights)
        # The third of ten pairs has no weight.
        assert predicted == pytest.approx([0.75, 2.75, *np.arange(6.75, 19, 2)])
        assert observed == [0.75] * 9

    def test_curves_count_by_weight(self):
        weights = np.array([1.0, 2, 3, 1, 2, 3, 1, 2])
        given = {"label": self.LABELS, "prediction": self.SCORES, "logistic": 1 - self.SCORES, "weight": weights}
        rows = rows_of("click", given | {"loss": losses("click", self.LABELS, self.SCORES)}, slices=())
        svg = clicks.section(run_of(CLICK, {"log_loss": 0.3}, rows=rows)).blocks[2].svg
        expected = roc_auc_score(self.LABELS, self.SCORES, sample_weight=weights)
        assert f"model, AUC {expected:.4f}" in svg

    def test_the_section_names_the_auc(self):
        section = clicks.section(self.run())
        assert titles(section) == ["calibration", "predicted probabilities", "ROC", "precision and recall"]
        # One of the 16 pairs is in the wrong order.
        assert "model, AUC 0.9375" in section.blocks[2].svg
        assert "logistic regression, AUC 0.0625" in section.blocks[2].svg

    def test_other_tasks_have_none(self):
        assert clicks.section(rating_run()) is None


def test_lists_by_popularity_and_activity():
    given = {
        "ranks": [[1, 3], [0], [2]],
        "popular_ranks": [[0, 0], [1], [0]],
        "train_counts": [[600, 0], [3], [50]],
        "seen": [2, 30, 3],
    }
    run = run_of(RETRIEVAL, {"ndcg_at_2": 0.5}, rows=rows_of("retrieval", given, slices=()), index_report={})
    section = lists.section(run)
    by_length, _, by_popularity, by_activity = (block.svg for block in section.blocks)
    assert "length k: 2; recall: 0.5; series: model" in by_length
    assert "length k: 3; recall: 0.666" in by_length
    # Rank 3 lies behind the cutoff.
    for tip in ("500+; share found: 1", "share found: 0; rows of the item in the training split: 0"):
        assert tip.split("; ")[0] in by_popularity
    assert "items seen before: 1-4" in by_activity and "items seen before: 20-99" in by_activity
    assert lists.section(rating_run()) is None


class TestImportance:
    USER = Unit(name="user", columns=("user",))
    GROUP = Unit(name="the user", columns=("user", "country"), is_group=True)

    def found(self, metric: SampleMetric) -> Importance:
        changes = {"user": (0.1, 0.3), "the user": (0.4, 0.4)}
        if metric.higher_is_better:
            changes = {name: tuple(-value for value in values) for name, values in changes.items()}
        units = [UnitChange(unit=unit, changes={metric.name: changes[unit.name]}) for unit in (self.USER, self.GROUP)]
        return Importance(rows=800, metrics=(metric,), units=tuple(units))

    def test_bars_are_the_rise_of_a_loss(self):
        found = self.found(SampleMetric(name="rmse", value=0.9))
        section = importance.section(rating_run(importance=found))
        text, chart, of_units = section.blocks
        assert "a random sample of 800 test rows" in text.text
        assert chart.title == "rise of rmse" and chart.note.startswith("0.9000 on the sample")
        assert 'data-tip="user: 0.2 ± 0.14"' in chart.svg and 'data-tip="the user: 0.4 ± 0"' in chart.svg
        deviation = 0.1 * 2**0.5
        assert of_units.rows == (
            ("the user", "user, country", pytest.approx(0.4), pytest.approx(0)),
            ("user", "", pytest.approx(0.2), pytest.approx(deviation)),
        )
        assert of_units.descending

    def test_bars_are_the_fall_of_what_should_be_high(self):
        found = self.found(SampleMetric(name="ndcg_at_10", value=0.5, higher_is_better=True))
        text, chart, of_units = importance.section(run_of(RETRIEVAL, {"ndcg_at_2": 0.5}, importance=found)).blocks
        assert "800 queries" in text.text and "Only columns of the query" in text.text
        assert chart.title == "fall of ndcg at 10" and 'data-tip="user: 0.2 ± 0.14"' in chart.svg
        assert of_units.rows[1][2] == pytest.approx(-0.2) and not of_units.descending

    def test_what_stands_beside_the_deciding_metric_is_in_the_table_alone(self):
        auc = SampleMetric(name="auc", value=0.9, higher_is_better=True, gates=False)
        unit = UnitChange(unit=self.USER, changes={"log_loss": (0.1, 0.2), "auc": (-0.1, -0.2)})
        found = Importance(rows=9, metrics=(SampleMetric(name="log_loss", value=0.3), auc), units=(unit,))
        section = importance.section(rating_run(importance=found))
        assert titles(section)[:1] == ["rise of log loss"] and len(section.blocks) == 3
        assert [column.name for column in table(section).columns] == [
            "exchanged", "log loss, change", "±", "auc, change", "±",
        ]  # fmt: skip

    def test_a_refusal_is_all_that_is_said(self):
        (text,) = importance.section(rating_run(importance=Importance(refusal="Too many items."))).blocks
        assert text.text == "Too many items."


def test_training_draws_what_was_logged():
    falling = Series((1, 2), (2.0, 1.0))
    rates = {f"learning_rate/{name}": Series((1, 2), (0.1, 0.05)) for name in ("dense", "user", "item", "title")}
    section = training.section(rating_run(curves={"loss": falling, "eval/rmse": falling} | rates))
    assert titles(section) == ["training loss", "rmse of the selection split", "learning rates"]
    # Four equal lines are one.
    assert "dense and 3 others" in section.blocks[-1].svg or "learning rate: 0.1" in section.blocks[-1].svg
    constant = training.section(rating_run(curves={"learning_rate/dense": Series((1, 2), (0.1, 0.1))}))
    assert constant.blocks[-1].facts == (("dense", "0.1"),)
    assert training.section(rating_run(curves={})) is None


def test_data_counts_rows_and_lists_anomalies():
    section = data.section(rating_run(findings=[], bad_rows=3))
    assert [bar.text for bar in section.blocks[0].bars] == ["80 rows (80.0%)", "20 rows (20.0%)"]
    assert ("bad rows", "3 set aside") in section.blocks[1].facts
    assert section.blocks[2].tone == "good"


def tokens(name, counts: dict[str, int], missing: int = 0) -> statistics_pb2.FeatureNameStatistics:
    feature = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.STRING)
    feature.path.step.append(name)
    strings = feature.string_stats
    strings.unique = len(counts)
    strings.common_stats.num_missing, strings.common_stats.num_non_missing = missing, sum(counts.values())
    for token, count in counts.items():
        strings.top_values.add(value=token, frequency=count)
        strings.rank_histogram.buckets.add(label=token, sample_count=count)
    return feature


def test_columns_show_missing_and_unknown_tokens_and_what_changed():
    values = pa.array([[b"F"], [b"X"], [b"F"], [b"F"]], pa.large_list(pa.large_binary()))
    batch = pa.RecordBatch.from_arrays([values], ["gender"])
    train, test = tokens("gender", {"F": 60, "M": 20}, 20), tokens("gender", {"F": 10, "M": 10})
    run = rating_run(
        statistics={"train": {"gender": train}, "test": {"gender": test}},
        vocabularies={"gender": pa.array([b"F", b"M"], pa.large_binary())},
        head=dict.fromkeys(("train", "eval", "test"), batch),
    )
    section = columns.section(run)
    (row,) = table(section).rows
    assert row[:3] == ("gender", "tokens", 0.2)
    assert row[5:] == (2.0, 0.25, 0.25, 0.25, "F 75.0%, M 25.0%")
    assert titles(section)[1:] == ["gender"]


def test_activity_is_ranked_and_its_concentration_counted():
    lists_type = pa.large_list(pa.large_binary())
    users = pa.array([[b"a"]] * 9 + [[b"b"]], lists_type)
    items = pa.array([[b"x"]] * 5 + [[b"y"]] * 5, lists_type)
    batch = pa.RecordBatch.from_arrays([users, items], ["user_id", "movie_id"])
    section = activity.section(rating_run(head={"train": batch}))
    of_users, of_items = table(section).rows
    assert of_users[:4] == ("users", 2.0, 5.0, 9.0)
    assert of_users[-1] == 0.9 and of_items[-1] == 0.5
    assert section.blocks[0].note == "First 10 of 80 training rows."


@pytest.mark.parametrize("kind", [Float32Vectors, Int8Vectors])
def test_neighbours_come_from_the_vectors_of_the_index(kind, tmp_path):
    # Twelve items in six pairs of equal directions.
    vectors = np.repeat(np.eye(6, dtype=np.float32), 2, axis=0) * np.linspace(1, 2, 12, dtype=np.float32)[:, np.newaxis]
    index = tf.Module()
    index._vectors = kind(vectors)
    index._ids = tf.Variable([f"i{number}" for number in range(12)])
    index._train_counts = tf.Variable(np.arange(12, 0, -1))
    tf.saved_model.save(index, str(tmp_path / "Format-Serving"))
    titles = {f"i{number}".encode(): f"Movie {number}" for number in range(12)}
    run = run_of(RETRIEVAL, {"ndcg_at_2": 0.5})
    run = replace(run, uris=replace(NOWHERE, model=str(tmp_path)))
    run.__dict__["titles"] = titles
    section = embeddings.section(run)
    assert titles_of_rows(section)[:2] == [("Movie 0", "Movie 1 (1.00)"), ("Movie 1", "Movie 0 (1.00)")]
    assert "Movie 0: 12 rows, norm 1" in section.blocks[0].svg


def test_the_card_says_what_the_experiment_file_says_and_no_more():
    card = ModelCard(intended_use="movie nights")
    facts = dict(model_card.section(rating_run(card=card)).blocks[0].facts)
    assert facts["intended use"] == "movie nights"
    assert "limits" not in facts
    # MovieLens has terms of use.
    assert "research" in facts["terms of the data"]
    assert model_card.section(run_of(CLICK.model_copy(update={"license_note": ""}), {"log_loss": 1.0})) is None


MEASURED = Measured(
    column="country",
    measure="l_infinity",
    value=0.21,
    threshold=0.065,
    origin="history of 3 spans: median 0.015, margin 0.050",
    may_stop=True,
    reference="previous",
    against="span 3, the previous one",
    change="'us': 49.0% of the rows, now 70.0%",
)


class TestDrift:
    def report(self, *measured: Measured, compared_with=("span 3, the previous one",), notes=()) -> DriftReport:
        drawing = Drawing(column="country", against="span 3", values=("us",), earlier=(0.49,), newer=(0.7,))
        return DriftReport(
            name="span 4",
            rows=1000,
            action="warn",
            compared_with=compared_with,
            notes=notes,
            measured=measured,
            drawings=(drawing,) if measured else (),
            entries=(),
        )

    def test_a_finding_names_value_threshold_and_where_that_comes_from(self):
        section = drift.section(rating_run(drift=self.report(MEASURED)))
        assert section is not None
        (row,) = table(section).rows
        assert row == (
            *("country", "l_infinity", 0.21, 0.065, "history of 3 spans: median 0.015, margin 0.050"),
            *("span 3, the previous one", "'us': 49.0% of the rows, now 70.0%"),
        )
        texts = " ".join(block.text for block in section.blocks if isinstance(block, Text))
        assert "1 of 1 measures are above" in texts and "has its spelling, its unit" in texts
        (chart,) = [block for block in section.blocks if isinstance(block, Chart)]
        assert chart.title == "country" and "span 4" in chart.svg

    def test_no_drift_is_said(self):
        calm = MEASURED.model_copy(update={"value": 0.01})
        section = drift.section(rating_run(drift=self.report(calm)))
        assert section is not None and isinstance(section.blocks[0], Text)
        assert section.blocks[0].text == "span 4: no drift against span 3, the previous one."
        assert len(table(section).rows) == 1

    def test_the_first_span_has_nothing_to_be_compared_with(self):
        section = drift.section(rating_run(drift=self.report(compared_with=(), notes=("no earlier data",))))
        assert section is not None
        assert [block.text for block in section.blocks if isinstance(block, Text)] == [
            "span 4: not compared with earlier data.",
            "no earlier data",
        ]

    def test_without_the_component_there_is_no_section(self):
        assert drift.section(rating_run()) is None
