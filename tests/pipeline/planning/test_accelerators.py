import pytest

from pipeline.planning.accelerators import GENERATIONS, GIB, Fact, parse_slice, slices_of
from trainer_module.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "chips", "cores", "replicas", "hosts", "sparse_cores"),
    [
        ("v2-8", 4, 8, 8, 1, 0),
        ("v3-32", 16, 32, 32, 4, 0),
        ("v4-8", 4, 8, 4, 1, 16),
        ("v5e-8", 8, 8, 8, 1, 0),
        ("v5e-16", 16, 16, 16, 4, 0),
        ("v5p-16", 8, 16, 8, 2, 32),
        ("v6e-16", 16, 16, 16, 4, 32),
    ],
)
def test_a_name_counts_cores_or_chips(name, chips, cores, replicas, hosts, sparse_cores):
    found = parse_slice(name)
    assert (found.chips, found.cores, found.replicas) == (chips, cores, replicas)
    assert (found.hosts, found.sparse_cores) == (hosts, sparse_cores)
    assert found.name == name


def test_two_names_of_one_slice():
    assert parse_slice("v5litepod-8") == parse_slice(" V5E-8 ") == parse_slice("v5e-8")


def test_cores_with_memory_of_their_own_share_a_chip_s():
    assert parse_slice("v2-8").hbm_per_replica == 8 * GIB
    assert parse_slice("v4-8").hbm_per_replica == 32 * GIB


def test_hosts_share_the_memory_by_chips():
    assert parse_slice("v5p-16").host_memory == 448 * 10**9
    assert parse_slice("v6e-8").host_memory == 2 * (parse_slice("v6e-16").host_memory or 0) == 1536 * GIB
    assert parse_slice("v4-8").host_memory is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("v4-9", "--tpu v4-9: no TPU slice is called so. The nearest is v4-8. Known v4 slices, by TensorCores: v4-8, "),
        ("v5e-100", "The nearest is v5e-128."),
        ("v4", "Known v4 slices, by TensorCores: v4-8, v4-16"),
        ("v5e-eight", "Known v5e slices, by chips: v5e-1, v5e-4"),
        ("v5-8", "Did you mean v5p-8?"),
        ("gpu", "Known generations: v2-8 to v2-512, "),
    ],
)
def test_an_unknown_slice_is_refused_with_the_nearest(name, message):
    with pytest.raises(ConfigError) as caught:
        parse_slice(name)
    assert message in str(caught.value)


@pytest.mark.parametrize("generation", GENERATIONS, ids=lambda generation: generation.name)
def test_facts_agree_with_one_another(generation):
    facts = [value for value in vars(generation).values() if isinstance(value, Fact)]
    assert len(facts) == 9
    assert all(fact.source for fact in facts)
    assert all(not fact.confirmed for _, fact in generation.unconfirmed)
    assert ("V2" in generation.features.value) == (generation.sparse_cores_per_chip.value > 0)
    assert list(generation.sizes.value) == sorted(set(generation.sizes.value))
    for candidate in slices_of(generation):
        assert candidate.cores % candidate.hosts == candidate.replicas % candidate.hosts == 0
        assert parse_slice(candidate.name) == candidate
