"""The towers, saved once."""

from pathlib import Path

import pytest

from components.retrieval_index.build import Float32Index, IndexReport, build_index
from components.retrieval_index.catalog import CandidateColumns
from components.retrieval_index.config import RetrievalIndexConfig

from .world import CATALOG, EAST, NORTH, query, save_towers, write

QUERIES = [query(EAST), query(NORTH)]
COLUMNS = CandidateColumns("item", "title", ("genres",))


@pytest.fixture(scope="session")
def towers_dir(tmp_path_factory) -> str:
    return save_towers(tmp_path_factory.mktemp("towers"))


@pytest.fixture(scope="session")
def build(towers_dir):
    """Builds an index of rows in a directory."""

    def build(directory: Path, rows=CATALOG, queries=QUERIES, quantize: bool = False, **config) -> IndexReport:
        files = [write(directory / f"candidates-{n}.gz", part) for n, part in enumerate((rows[:2], rows[2:]))]
        (directory / "scratch").mkdir()
        return build_index(
            RetrievalIndexConfig.model_validate({"recall_k": 3, "batch_size": 2} | config),
            COLUMNS,
            files,
            [write(directory / "queries.gz", queries)],
            towers_dir,
            str(directory / "scratch"),
            str(directory / "index"),
            # These towers have no tables to be quantized: they are their own float32 towers.
            Float32Index(towers_dir, str(directory / "float32")) if quantize else None,
        )

    return build
