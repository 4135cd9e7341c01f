"""What the section takes, and what it refuses before or after the catalog is known."""

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from components.retrieval_index.config import FaissConfig, RetrievalIndexConfig
from trainer_module.errors import ConfigError


def faiss(**fields):
    return TypeAdapter(FaissConfig).validate_python(fields)


@pytest.mark.parametrize(
    ("config", "num_candidates", "description", "num_training"),
    [
        (faiss(type="flat"), 1, "Flat", 0),
        (faiss(type="ivf", nlist=50), 1000, "IVF50,Flat", 1000),
        (faiss(type="ivf", nlist=50), 20_000, "IVF50,Flat", 50 * 64),
        # Four times the root of a million; of 1600 that would be 160, but 39 for each leaves 41.
        (faiss(type="ivf"), 1_000_000, "IVF4000,Flat", 256_000),
        (faiss(type="ivf"), 1600, "IVF41,Flat", 1600),
        (faiss(type="ivf"), 3, "IVF1,Flat", 3),
        (faiss(type="ivf_pq", nlist=20, m=4), 90_000, "IVF20,PQ4x8np", 256 * 256),
        (faiss(type="ivf_pq", nlist=1000, nprobe=5, m=4, bits=4), 900_000, "IVF1000,PQ4x4np", 64_000),
        (faiss(type="hnsw", m=16), 10, "HNSW16,Flat", 0),
    ],
)
def test_what_faiss_is_told(config, num_candidates, description, num_training):
    assert config.description(num_candidates, dim=32) == description
    assert config.num_training(num_candidates) == num_training


def test_parameters_of_construction_and_search():
    assert faiss(type="flat").parameters == {}
    assert faiss(type="ivf_pq", nprobe=3).parameters == {"nprobe": 3}
    assert faiss(type="hnsw", ef_construction=7, ef_search=9).parameters == {"efConstruction": 7, "efSearch": 9}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (faiss(type="ivf", nlist=101), "faiss.nlist is 101, but there are only 100 candidates"),
        (faiss(type="ivf_pq", nlist=101, m=4, bits=4), "faiss.nlist is 101, but there are only 100 candidates"),
        (
            faiss(type="ivf_pq", m=5),
            "faiss.m is 5, which does not divide the vectors' dimension 12; take one of 1, 2, 3, 4, 6, 12",
        ),
        (faiss(type="ivf_pq", m=4), "faiss.bits is 8, which asks for 256 centroids, but there are only 100 candidates"),
    ],
)
def test_what_does_not_fit_the_catalog_is_refused(config, message):
    with pytest.raises(ConfigError, match=f"retrieval_index.{message}"):
        config.description(100, dim=12)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"faiss": {"type": "ivf", "nlist": 8, "nprobe": 9}}, "nprobe 9 visits more cells than nlist 8 makes"),
        ({"faiss": {"type": "ivf", "m": 8}}, "Extra inputs are not permitted"),
        ({"faiss": {"type": "lsh"}}, "'flat', 'ivf', 'ivf_pq', 'hnsw'"),
        ({"recall_k": 11, "max_k": 10}, "recall_k 11 is more than the exact search answers, max_k 10"),
        ({"min_recall": 1.1}, "less than or equal to 1"),
        ({"max_k": 0}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_fit_itself_is_refused(section, message):
    with pytest.raises(ValidationError, match=re.escape(message)):
        RetrievalIndexConfig.model_validate(section)


def test_the_section_travels_as_json():
    config = RetrievalIndexConfig.model_validate({"faiss": {"type": "ivf_pq", "m": 4}, "restricts": ["genres"]})
    assert RetrievalIndexConfig.model_validate_json(config.model_dump_json()) == config
