"""Makes one model of two pushed ones, judges it beside the first of them alone, and pushes it if it is no worse."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from components.evaluation.ranking_metrics import confidence_interval, find_hits, ndcg
from components.example_gen.joins.attributes import ItemAttributes
from components.example_gen.loading import load
from components.pusher.comparison import Comparison
from components.pusher.layout import SUMMARY_FILE_NAME
from components.pusher.publish import publish
from components.pusher.verify import request_columns
from components.pusher.warmup import WARMUP_FILE, warmup_requests
from components.retrieval_index.exact import BY_COLUMN as RECOMMEND
from components.retrieval_index.exact import IDS, TITLES, queries_at_once
from components.scratch import scratch_directory
from components.two_stage.candidates import ApproximateCandidates, CandidateSearch, ExactCandidates, read_cells
from components.two_stage.model import save_two_stage
from pipeline.ask.recommend import IndexModel
from pipeline.ask.versions import data_config, load_model, raw_directory, read_summary
from pipeline.lineage import examples_of
from pipeline.two_stage.config import ITEMS, TWO_STAGE, TwoStageOptions, check_same_history
from trainer_module.data.dataset import Dataset
from trainer_module.data.example_files import ExampleFiles, serialized
from trainer_module.data.spec import QUERIES, RELEVANT
from trainer_module.errors import ConfigError, DataError
from trainer_module.models.signatures import BY_COLUMN as PREDICT

_log = logging.getLogger(__name__)

# Share of the test pairs that the ranking model may have been trained on: those that a table holds twice.
_LARGEST_LEAK = 0.01
_QUERIES_AT_ONCE = 256
_WARMUP_EXAMPLES = 16


@dataclass(frozen=True)
class Judgement:
    """What ranking makes of the candidates, over the queries of the retrieval model's test split.

    Attributes:
        k: Length of the lists.
        num_queries: Number of queries with a relevant item.
        retrieval_ndcg: Mean nDCG of the retrieval model alone.
        whole: Mean nDCG of both stages.
        difference: Ends of the 95% bootstrap interval of the mean difference.
    """

    k: int
    num_queries: int
    retrieval_ndcg: float
    whole: float
    difference: tuple[float, float]

    @property
    def is_no_worse(self) -> bool:
        """Whether ranking does not make the lists worse."""
        return self.whole >= self.retrieval_ndcg


@dataclass(frozen=True)
class Stages:
    """What is combined, and how.

    Attributes:
        retrieval: A pushed version of a retrieval model.
        ranking: A pushed version of a ranking model of the same tables.
        options: How they become one.
    """

    retrieval: Path
    ranking: Path
    options: TwoStageOptions

    def described(self) -> dict[str, Any]:
        """Values by name, as summaries hold them."""
        options = self.options.model_dump(include=set(TwoStageOptions.model_fields))
        return {"retrieval": str(self.retrieval), "ranking": str(self.ranking), **options}


@dataclass(frozen=True)
class Combined:
    """Outcome of `combine`.

    Attributes:
        judgement: Of the whole.
        summary: What is known of the whole, beside the judgement; the pushed version holds it, too.
        pushed_to: The version; None if ranking makes the lists worse.
    """

    judgement: Judgement
    summary: dict[str, Any]
    pushed_to: Path | None


def combine(stages: Stages, serving: Path, data_dir: Path | None = None) -> Combined:
    """Builds the model, compares it with the retrieval model alone and publishes it if it is no worse.

    Args:
        stages: The two models, and how they become one.
        serving: Directory of the versions.
        data_dir: Holds the raw files; None means where the retrieval model's data came from.

    Raises:
        ConfigError: The two models do not fit together.
        DataError: The ranking model was trained on rows that judge the whole, or the data is not there.
        ModelError: One of the directories holds no pushed version, or its run cannot be found.
    """
    options = stages.options
    summaries = check_stages(stages)
    dataset, ranked = (data_config(summary).described() for summary in summaries)
    directory = raw_directory(summaries[0], data_dir)
    queries, rows = examples_of(stages.retrieval), examples_of(stages.ranking)
    _check_leak(dataset, ranked, queries, rows)
    batches = list(ExampleFiles([f"{queries}/Split-{QUERIES}/*"]).batches(_query_schema(dataset), _QUERIES_AT_ONCE))
    num_items = summaries[0]["retrieval_index"]["candidates"]
    size = queries_at_once(num_items)
    parts = [batch.slice(start, size) for batch in batches for start in range(0, batch.num_rows, size)]
    serving.mkdir(parents=True, exist_ok=True)
    with scratch_directory(serving, ".combining-") as scratch:
        model_dir = str(scratch / "model")
        alone = IndexModel(stages.retrieval)
        candidates = candidate_search(stages.retrieval, options.search, alone, batches[0], scratch)
        ranking = load_model(stages.ranking, PREDICT)
        items, ids = item_columns(directory, summaries[1], ranking)
        save_two_stage(candidates, ranking, items, ids, options.candidates, model_dir, options.retrieval_weight)
        judgement = judge(alone, IndexModel(Path(model_dir)), parts, options.k)
        summary = {key: summaries[0][key] for key in ("data_dir", "packages", "examples", "training")}
        summary["config"] = summaries[0]["config"] | {"model": {"type": TWO_STAGE}}
        facts = stages.described() | asdict(judgement) | {ITEMS: num_items}
        summary |= {TWO_STAGE: facts, "evaluation": _evaluation(judgement)}
        if not judgement.is_no_worse:
            return Combined(judgement, summary, None)
        files = {
            SUMMARY_FILE_NAME: json.dumps(summary, indent=2).encode(),
            WARMUP_FILE: warmup_requests(model_dir, serialized(batches[0].slice(0, _WARMUP_EXAMPLES))),
        }
        return Combined(judgement, summary, publish(model_dir, str(serving), files))


def check_stages(stages: Stages) -> tuple[dict[str, Any], dict[str, Any]]:
    """Checks that two versions can become one; their summaries.

    Raises:
        ConfigError: The two models do not fit together.
        ModelError: One of the directories holds no pushed version.
    """
    retrieval, ranking = (read_summary(version) for version in (stages.retrieval, stages.ranking))
    _check_fit(data_config(retrieval).described(), data_config(ranking).described(), retrieval)
    return retrieval, ranking


def candidate_search(
    version: Path, search: str, alone: IndexModel, queries: pa.RecordBatch, scratch: Path
) -> CandidateSearch:
    """The first stage of a model of two.

    Args:
        version: A pushed version of a retrieval model.
        search: `exact` or `approximate`.
        alone: The same model.
        queries: Any; the answer to the first one tells the items' titles.
        scratch: Directory for a file that the SavedModel copies.

    Raises:
        ConfigError: An approximate search needs a FAISS index of another type.
    """
    retrieval = load_model(version, RECOMMEND)
    if search == "exact":
        return ExactCandidates(retrieval)
    cells = read_cells(str(version))
    # Every retrieval model knows the titles of all its items.
    found = alone.find(queries.slice(0, 1), len(cells.ids), exclude_seen=False)
    titles = {item.decode(): title.decode() for item, title in zip(found[IDS][0], found[TITLES][0], strict=True)}
    return ApproximateCandidates(retrieval, cells, titles, str(scratch / "candidate_ids.txt"))


def _evaluation(judgement: Judgement) -> dict[str, Any]:
    """The judgement in the form of an Evaluator's, so that runs and versions are listed alike."""
    metric = f"ndcg_at_{judgement.k}"
    row = {
        "slice": "overall",
        metric: judgement.whole,
        f"retrieval_{metric}": judgement.retrieval_ndcg,
        "example_count": float(judgement.num_queries),
    }
    pair = Comparison(metric, judgement.whole, "retrieval alone", judgement.retrieval_ndcg)
    return {"slices": [row], "baselines": [asdict(pair)], "failures": []}


def judge(alone: IndexModel, whole: IndexModel, batches: Sequence[pa.RecordBatch], k: int) -> Judgement:
    """Compares the lists of two models, seen items left out.

    Args:
        alone: The retrieval model.
        whole: Both stages.
        batches: Queries with what is relevant to them.
        k: Length of the lists.
    """
    values: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for number, batch in enumerate(batches, start=1):
        relevant = _filled_up(batch.column(RELEVANT).to_pylist())
        for of_model, model in zip(values, (alone, whole), strict=True):
            hits = find_hits(model.find(batch, k, exclude_seen=True)[IDS], relevant)
            of_model.append(ndcg(hits, (relevant != b"").sum(axis=1), k))
        _log.info("judged %d of %d batches of queries", number, len(batches))
    first, both = (np.concatenate(of_model) for of_model in values)
    counts = ~np.isnan(first)
    return Judgement(
        k=k,
        num_queries=int(counts.sum()),
        retrieval_ndcg=float(first[counts].mean()),
        whole=float(both[counts].mean()),
        difference=confidence_interval((both - first)[counts]),
    )


def _check_fit(dataset: Dataset, ranked: Dataset, summary: Mapping[str, Any]) -> None:
    if dataset.task != "retrieval" or TWO_STAGE in summary:
        raise ConfigError("retrieval: this version does not retrieve by itself; name one of a retrieval model")
    if ranked.task == "retrieval":
        raise ConfigError("ranking: this version retrieves; name one of a model that predicts ratings or clicks")
    for what in ("user_key", "item_key"):
        if getattr(dataset, what) != getattr(ranked, what):
            raise ConfigError(
                f"the retrieval model's {what} is {getattr(dataset, what)!r}, the ranking model's "
                f"{getattr(ranked, what)!r}; train both on the same tables"
            )
    if ranked.neighbours:
        raise ConfigError(
            "ranking: data.neighbours looks at user and item together, which a SavedModel cannot join; train a model "
            "without it"
        )
    check_same_history(dataset, ranked)


def _check_leak(dataset: Dataset, ranked: Dataset, of_retrieval: str, of_ranking: str) -> None:
    """Refuses a ranking model that was trained on the rows that judge the whole.

    A user may take an item again: rows are told apart by their times. Without times, a pair that retrieval has seen is
    no test row, since lists leave it out.
    """
    names = [dataset.user_key, dataset.item_key]
    time, other = (each.tables.interactions.time for each in (dataset, ranked))
    if time and time == other:
        names.append(time.feature_name)
    judged = pa.concat_arrays(list(_keys(of_retrieval, "test", names, dataset)))
    if len(names) == 2:
        seen = [key for split in ("train", "eval") for key in _keys(of_retrieval, split, names, dataset)]
        judged = judged.filter(pc.invert(pc.is_in(judged, pa.concat_arrays(seen))))
    leaked = sum(
        pc.sum(pc.is_in(trained, judged)).as_py() or 0 for trained in _keys(of_ranking, "train", names, ranked)
    )
    if leaked > _LARGEST_LEAK * len(judged):
        raise DataError(
            f"the ranking model was trained on {leaked:,} rows that are among the {len(judged):,} test rows of the "
            "retrieval model, so that the comparison would flatter it. Train both with the same section data.split, by "
            "time, user, column or leave-last-out"
        )


def item_columns(directory: str, summary: Mapping[str, Any], ranking: Any) -> tuple[dict[str, tf.Tensor], list[str]]:
    """The ranking model's columns of all items, and their identifiers."""
    config = data_config(summary)
    dataset = config.described()
    # Items that only interactions name are items, too.
    entities = load(directory, config, {}, with_interactions=True).entities
    assert entities.items is not None
    columns = ItemAttributes(dataset).columns(np.arange(entities.items.num_rows), entities)
    specs = ranking.signatures[PREDICT].structured_input_signature[1]
    examples = serialized(pa.RecordBatch.from_pydict(columns))
    found = request_columns(examples, {name: spec for name, spec in specs.items() if name in columns})
    return found, [values[0].decode() for values in columns[dataset.item_key].to_pylist()]


def _query_schema(dataset: Dataset) -> pa.Schema:
    return dataset.spec().query_schema()


def _keys(examples: str, split: str, names: Sequence[str], dataset: Dataset) -> Iterator[pa.Array]:
    """What tells the rows of a split apart, one text per row."""
    schema, binary = dataset.spec().features.arrow_schema(), pa.large_binary()
    for batch in ExampleFiles([f"{examples}/Split-{split}/*"]).batches(pa.schema([schema.field(n) for n in names])):
        values = [column.flatten() for column in batch.columns]
        texts = [(each.cast(pa.large_string()) if pa.types.is_integer(each.type) else each) for each in values]
        yield pc.binary_join_element_wise(*(text.cast(binary) for text in texts), pa.scalar(b"\0", binary))


def _filled_up(lists: Sequence[list[bytes]]) -> np.ndarray:
    """`[queries, n]`, filled up with empty texts."""
    filled = np.full([len(lists), max(map(len, lists), default=0)], b"", object)
    for row, values in zip(filled, lists, strict=True):
        row[: len(values)] = values
    return filled
