"""What keeps two models from becoming one, and how the whole is judged."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from components.example_gen.config import DataConfig
from components.retrieval_index.exact import IDS
from pipeline.lineage import examples_of
from pipeline.two_stage.combine import _check_fit, _check_leak, judge
from trainer_module.data.example_files import write_parquet
from trainer_module.errors import ConfigError, DataError, ModelError

TABLES = {"interactions": {"files": "rows.csv", "user": "user", "item": "item", "time": "ts"}}
RATED = {"interactions": TABLES["interactions"] | {"label": "stars"}, "task": "rating"}
LAST_OUT = {"split": {"by": "leave-last-out"}}


def dataset(**settings):
    return DataConfig.model_validate(TABLES | LAST_OUT | settings).described()


RETRIEVAL, RANKING = dataset(task="retrieval"), dataset(**RATED)


def lists(*values: list[str]) -> pa.Array:
    return pa.array([[v.encode() for v in of_row] for of_row in values], pa.large_list(pa.large_binary()))


class Fixed:
    """A model with one answer."""

    def __init__(self, *ids: list[str]):
        self._ids = np.array([[item.encode() for item in of_query] for of_query in ids], object)

    def find(self, queries, k, exclude_seen):
        assert exclude_seen
        return {IDS: self._ids[:, :k]}


def test_the_whole_is_judged_by_the_mean_over_queries():
    batch = pa.record_batch({"relevant": lists(["a"], ["b", "c"])})
    alone, whole = Fixed(["x", "a"], ["b", "c"]), Fixed(["a", "x"], ["c", "b"])
    found = judge(alone, whole, [batch], 2)  # pyright: ignore[reportArgumentType] (it has the method that is called)
    second = 1 / np.log2(3)
    assert (found.num_queries, found.k) == (2, 2)
    assert found.retrieval == pytest.approx((second + 1) / 2)
    assert found.whole == pytest.approx(1)
    assert found.is_no_worse and found.difference[0] <= found.whole - found.retrieval <= found.difference[1]
    assert not replace(found, whole=found.retrieval - 0.001).is_no_worse


def test_models_that_do_not_fit_are_refused():
    _check_fit(RETRIEVAL, RANKING, {})
    with pytest.raises(ConfigError, match="--retrieval: this version does not retrieve by itself"):
        _check_fit(RANKING, RANKING, {})
    with pytest.raises(ConfigError, match="--retrieval: this version does not retrieve by itself"):
        _check_fit(RETRIEVAL, RANKING, {"two_stage": {}})
    with pytest.raises(ConfigError, match="--ranking: this version retrieves"):
        _check_fit(RETRIEVAL, RETRIEVAL, {})
    renamed = {"interactions": RATED["interactions"] | {"item": {"name": "item", "feature": "sku"}}, "task": "rating"}
    with pytest.raises(ConfigError, match="item_key is 'item', the ranking model's 'sku'"):
        _check_fit(RETRIEVAL, dataset(**renamed), {})
    with pytest.raises(ConfigError, match=r"data\.neighbours looks at user and item together"):
        _check_fit(RETRIEVAL, dataset(**RATED, neighbours=3), {})


def test_a_ranking_model_that_knows_the_test_rows_is_refused(tmp_path):
    schema = RETRIEVAL.spec().query_schema()
    columns = {"user": lists(["ann"], ["bob"]), "relevant": lists(["a", "b"], ["c"])}
    queries = pa.table({name: columns.get(name, lists([], [])).cast(schema.field(name).type) for name in schema.names})
    trained = pa.table({"user": lists(["ann"], ["bob"], ["bob"]), "item": lists(["c"], ["a"], ["c"])})
    for split, table in (("queries", queries), ("train", trained.slice(0, 2))):
        (tmp_path / f"Split-{split}").mkdir()
        write_parquet(str(tmp_path / f"Split-{split}" / "part-0.parquet"), table)
    _check_leak(RETRIEVAL, RANKING, str(tmp_path), str(tmp_path))
    write_parquet(str(tmp_path / "Split-train" / "part-0.parquet"), trained)
    with pytest.raises(DataError, match="trained on 1 rows that are among the 3 test rows"):
        _check_leak(RETRIEVAL, RANKING, str(tmp_path), str(tmp_path))


def test_a_version_without_its_run_is_named(tmp_path):
    version = tmp_path / "runs" / "serving" / "shop" / "1"
    with pytest.raises(ModelError, match=r"metadata\.sqlite is not there"):
        examples_of(version)
