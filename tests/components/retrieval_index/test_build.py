"""The whole build without TFX: what it writes, how it judges, what it refuses."""

import dataclasses
import json
from pathlib import Path

import faiss
import numpy as np
import pytest
import tensorflow as tf

from components.retrieval_index import approximate
from components.retrieval_index.build import FAISS_DIRECTORY, VERTEX_FILE, build_index, check
from components.retrieval_index.catalog import CandidateColumns
from components.retrieval_index.config import RetrievalIndexConfig
from trainer_module.errors import ConfigError, DataError, ModelError

from .conftest import COLUMNS
from .world import CATALOG, EAST, NORTH, query, save_towers, serialize, write

VECTORS = [[1, 0], [0, 1], [1, 1], [2, 0], [1, 1]]
NUM_ITEMS = 400
TYPES = {
    "flat": {"type": "flat"},
    "ivf": {"type": "ivf", "nlist": 10, "nprobe": 5},
    "ivf_pq": {"type": "ivf_pq", "nlist": 4, "nprobe": 4, "m": 2, "bits": 4},
    "hnsw": {"type": "hnsw", "m": 8, "ef_construction": 20, "ef_search": 50},
}


def circle() -> list[dict]:
    """Items around the unit circle."""
    angles = 2 * np.pi * np.arange(NUM_ITEMS) / NUM_ITEMS
    return [
        CATALOG[0] | {"item": [f"c{number}"], "a": [float(a)], "b": [float(b)]}
        for number, (a, b) in enumerate(zip(np.cos(angles), np.sin(angles), strict=True))
    ]


def directions(count: int) -> list[dict]:
    """Queries towards every side."""
    angles = 2 * np.pi * (np.arange(count) + 0.3) / count
    return [query((float(np.cos(angle)), float(np.sin(angle)))) for angle in angles]


def config(**fields) -> RetrievalIndexConfig:
    return RetrievalIndexConfig.model_validate(fields)


def test_what_lies_in_the_directory(build, tmp_path):
    report = build(tmp_path)
    index, ids = approximate.load(str(tmp_path / "index" / FAISS_DIRECTORY))
    assert ids == ["i0", "i1", "i2", "i3", "i4"]
    np.testing.assert_array_equal(index.reconstruct_n(0, 5), VECTORS)
    scores, rows = index.search(np.array([NORTH], np.float32), 2)
    assert scores.tolist() == [[1, 1]] and rows[0, 0] in (1, 2, 4), "inner product, not distance"
    lines = [json.loads(line) for line in (tmp_path / "index" / VERTEX_FILE).read_text().splitlines()]
    assert [(line["id"], line["embedding"]) for line in lines] == list(zip(ids, VECTORS, strict=True))
    assert lines[1]["restricts"] == [{"namespace": "genres", "allow": ["War", "Drama"]}]
    assert "restricts" not in lines[2]
    assert (report.candidates, report.dim, report.faiss_index) == (5, 2, "Flat")
    assert (report.recall, report.recall_k, report.recall_queries, report.holds) == (1, 3, 2, True)
    assert json.loads(json.dumps(report.as_json()))["holds"]
    assert list(report.seconds) == ["embedding", "faiss", "exact", "recall"]
    assert report.int8_recall is None and report.float32_saved_bytes is None


def test_int8_vectors_are_measured_against_float32_ones(build, tmp_path):
    rows = circle()
    # As a model of such a catalog has: each vector is near others, so that some places change.
    report = build(tmp_path, rows, directions(50), quantize=True, recall_k=10, max_k=20, min_recall=0.5)
    exact, rounded = (tf.saved_model.load(str(tmp_path / name)) for name in ("float32", "index"))
    requests = tf.constant([serialize(row) for row in directions(50)])
    found = [
        model.signatures["serving_default"](examples=requests)["ids"].numpy()[:, :10] for model in (exact, rounded)
    ]
    shares = [len(set(one) & set(other)) / 10 for one, other in zip(*found, strict=True)]
    assert report.int8_recall == pytest.approx(np.mean(shares))
    assert 0.5 < report.int8_recall < 1
    # The approximate index keeps float32.
    assert report.recall == 1
    index, _ = approximate.load(str(tmp_path / "index" / FAISS_DIRECTORY))
    np.testing.assert_allclose(
        index.reconstruct_n(0, 2), [[rows[0]["a"][0], rows[0]["b"][0]], [rows[1]["a"][0], rows[1]["b"][0]]]
    )
    of_files = [path.stat().st_size for path in (tmp_path / "float32").rglob("*") if path.is_file()]
    assert report.float32_saved_bytes == sum(of_files)
    check(report, config(min_recall=0.5))
    strict = dataclasses.replace(report, min_recall=0.999)
    assert not strict.holds
    message = (
        rf"int8 vectors has recall@10 {report.int8_recall:.4f} against float32 .* Leave export\.quantize out, or lower"
    )
    with pytest.raises(ModelError, match=message):
        check(strict, config(min_recall=0.999))


@pytest.mark.parametrize("name", TYPES)
def test_every_type_finds_what_exact_search_finds(build, name, tmp_path):
    report = build(tmp_path, circle(), directions(50), recall_k=10, faiss=TYPES[name])
    # Product quantization with 16 centroids per number is coarse; its answers are near, not the nearest.
    assert report.recall > (0.3 if name == "ivf_pq" else 0.99)
    assert report.faiss_bytes > NUM_ITEMS
    index, ids = approximate.load(str(tmp_path / "index" / FAISS_DIRECTORY))
    assert index.ntotal == len(ids) == NUM_ITEMS
    (row,) = index.search(np.array([EAST], np.float32), 1)[1][0]
    assert ids[row] in {f"c{number % NUM_ITEMS}" for number in range(-20, 21)}
    # How much a search visits is stored with the index.
    assert getattr(index, "nprobe", None) == TYPES[name].get("nprobe")
    if name == "hnsw":
        assert faiss.downcast_index(index).hnsw.efSearch == 50


def test_the_gate_names_what_to_raise(build, tmp_path):
    narrow = {"type": "ivf", "nlist": 20, "nprobe": 1}
    report = build(tmp_path, circle(), directions(50), recall_k=40, faiss=narrow, min_recall=0.9)
    # 20 items to a cell on average: the 40 nearest cannot lie in one.
    assert 0.2 < report.recall < 0.9
    asked = config(recall_k=40, faiss=narrow, min_recall=0.9)
    expected = (
        rf"FAISS index IVF20,Flat \(retrieval_index.faiss.type ivf\) has recall@40 {report.recall:.4f} against exact "
        r"search, over 50 held-out queries; retrieval_index.min_recall asks for 0.9. To find more, raise "
        r"retrieval_index.faiss.nprobe$"
    )
    with pytest.raises(ModelError, match=expected):
        check(report, asked)
    check(build(tmp_path / "wide", circle(), directions(50), recall_k=40, faiss=narrow | {"nprobe": 20}), asked)


def test_more_queries_than_asked_for_are_left_alone(build, tmp_path):
    assert build(tmp_path, queries=directions(9), recall_queries=4).recall_queries == 4


def test_what_a_user_has_seen_takes_part_in_the_judgement(build, tmp_path):
    # Left out, the nearest items would lower the score that counts as found.
    narrow = {"recall_k": 40, "faiss": {"type": "ivf", "nlist": 20, "nprobe": 1}}
    seen = [f"c{number}" for number in range(0, NUM_ITEMS, 2)]
    asked = [each | {"seen": seen} for each in directions(50)]
    recalls = [
        build(tmp_path / str(n), circle(), queries, **narrow).recall
        for n, queries in enumerate((asked, directions(50)))
    ]
    assert recalls[0] == recalls[1] < 0.9


def spoiled(**fields) -> list[dict]:
    # The third row of the second file, and so the first of its second batch.
    return [*CATALOG[:4], CATALOG[4] | fields]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([], DataError, r"no candidate in .*candidates-0\.gz.*nothing to retrieve"),
        (spoiled(item=["i1"]), DataError, r"-1\.gz, row 2: item 'i1' is that of candidate 1 too"),
        (spoiled(item=["i3"]), DataError, "item 'i3' is that of candidate 3 too"),
        (spoiled(item=[]), DataError, r"-1\.gz, row 2: item holds 0 values; a candidate must have exactly one"),
        (spoiled(item=["a", "b"]), DataError, "item holds 2 values"),
        (spoiled(item=[""]), DataError, "item is ''; an identifier is not empty"),
        (spoiled(item=["a\nb"]), DataError, r"item is 'a\\nb'; an identifier is not empty and holds no line break"),
        (spoiled(item=[b"\xff"]), DataError, "is not UTF-8"),
        (spoiled(item=[1.5]), DataError, r"-1\.gz: .* another type than the column's .*\"item\""),
        ([row | {"item": [n + 0.5]} for n, row in enumerate(CATALOG)], DataError, "item is the number 0.5"),
        (spoiled(title=["a", "b"]), DataError, "title is .*; expected one text at most"),
        (spoiled(train_count=[]), DataError, "train_count holds 0 values"),
        (spoiled(train_count=[-1]), DataError, "train_count is -1; expected a number of training rows"),
        (spoiled(a=[np.nan]), ModelError, r"-1\.gz, row 2: the vector of candidate 'i4' holds nan"),
        (spoiled(b=[-np.inf]), ModelError, "the vector of candidate 'i4' holds -inf"),
    ],
)
def test_broken_catalogs_are_refused(build, rows, error, message, tmp_path):
    with pytest.raises(error, match=message):
        build(tmp_path, rows)


def test_a_column_to_filter_by_must_have_values(towers_dir, tmp_path):
    files = [write(tmp_path / "candidates.gz", CATALOG)]
    with pytest.raises(
        ConfigError, match=r"retrieval_index\.restricts names genre, but no candidate has a value there"
    ):
        columns = CandidateColumns("item", "title", ("genres", "genre"))
        build_index(config(), columns, files, [], towers_dir, str(tmp_path), str(tmp_path / "index"))


def test_a_missing_title_is_empty(build, tmp_path):
    build(tmp_path, [*CATALOG[:3], CATALOG[3] | {"title": []}, CATALOG[4]])
    model = tf.saved_model.load(str(tmp_path / "index"))
    served = model.signatures["serving_default"](examples=tf.constant([serialize(query(EAST))]))
    assert served["ids"][0, :2].numpy().tolist() == [b"i3", b"i0"]
    assert served["titles"][0, :2].numpy().tolist() == [b"", b"Zero"]


def test_no_held_out_query(build, tmp_path):
    with pytest.raises(DataError, match=r"no query in .*queries\.gz; the index cannot be judged"):
        build(tmp_path, queries=[])


def test_a_query_without_a_finite_vector(build, tmp_path):
    with pytest.raises(ModelError, match="a held-out query's vector is not finite"):
        build(tmp_path, queries=[query((np.nan, 0.0))])


def test_parameters_that_do_not_fit_the_catalog(build, tmp_path):
    with pytest.raises(ConfigError, match=r"faiss\.nlist is 6, but there are only 5 candidates"):
        build(tmp_path, faiss={"type": "ivf", "nlist": 6, "nprobe": 1})


def test_a_model_without_towers(tmp_path):
    directory = save_towers(tmp_path, leave_out="embed_candidates")
    with pytest.raises(
        ModelError, match=r"no signature embed_candidates, only .*; an index needs model\.type two_tower"
    ):
        build_index(config(), COLUMNS, [], [], directory, str(tmp_path), str(tmp_path / "index"))


def test_blocks_and_batches_change_nothing(build, tmp_path, monkeypatch):
    whole = build(tmp_path / "whole", circle(), directions(20), recall_k=10, batch_size=1000)
    monkeypatch.setattr("components.retrieval_index.item_vectors._BLOCK_ROWS", 7)
    monkeypatch.setattr("components.retrieval_index.approximate._BLOCK_ROWS", 7)
    monkeypatch.setattr("components.retrieval_index.exact._NUMBERS_AT_ONCE", 3 * NUM_ITEMS)
    parts = build(tmp_path / "parts", circle(), directions(20), recall_k=10, batch_size=7)
    assert parts.recall == whole.recall == 1
    for name in (VERTEX_FILE, f"{FAISS_DIRECTORY}/index.faiss"):
        of_parts, of_whole = (Path(tmp_path, run, "index", name).read_bytes() for run in ("parts", "whole"))
        assert of_parts == of_whole
    checkpoints = [str(tmp_path / run / "index" / "variables" / "variables") for run in ("parts", "whole")]
    for name, shape in tf.train.list_variables(checkpoints[0]):
        if shape:
            np.testing.assert_array_equal(*(tf.train.load_variable(path, name) for path in checkpoints))
