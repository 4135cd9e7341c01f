import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import load_config
from pipeline.planning.accelerators import GENERATIONS
from pipeline.vertex.config import TrainerMachine
from pipeline.vertex.machines import (
    BUILT_IN_GPUS,
    HOST_FAMILIES,
    check_fits,
    find_machine,
    machine_names,
    tpu_machines,
)
from tests.pipeline.vertex.experiments import IMAGE, SECTION
from trainer_module.errors import ConfigError


def found(**settings):
    return find_machine(TrainerMachine(**settings))


@pytest.mark.parametrize(
    ("named", "spec"),
    [
        ({"machine": "n1-standard-16"}, {"machine_type": "n1-standard-16"}),
        (
            {"machine": "n1-standard-16", "accelerator": "NVIDIA_TESLA_V100", "accelerator_count": 4},
            {"machine_type": "n1-standard-16", "accelerator_type": "NVIDIA_TESLA_V100", "accelerator_count": 4},
        ),
        (
            {"machine": "a2-highgpu-4g"},
            {"machine_type": "a2-highgpu-4g", "accelerator_type": "NVIDIA_TESLA_A100", "accelerator_count": 4},
        ),
        (
            {"machine": "v3-8"},
            {"machine_type": "cloud-tpu", "accelerator_type": "TPU_V3", "accelerator_count": 8},
        ),
        (
            {"machine": "cloud-tpu", "accelerator": "TPU_V2", "accelerator_count": 32},
            {"machine_type": "cloud-tpu", "accelerator_type": "TPU_V2", "accelerator_count": 32},
        ),
        ({"machine": "v5litepod-8"}, {"machine_type": "ct5lp-hightpu-8t", "tpu_topology": "2x4"}),
        ({"machine": "ct5lp-hightpu-4t"}, {"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "2x2"}),
        (
            {"machine": "ct5lp-hightpu-4t", "topology": "4x4"},
            {"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "4x4"},
        ),
        ({"machine": "v6e-16"}, {"machine_type": "ct6e-standard-4t", "tpu_topology": "4x4"}),
    ],
)
def test_machines_become_the_services_machine_specs(named, spec):
    assert found(**named).spec() == spec


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (
            {"machine": "n1-standrad-16"},
            r"no machine type 'n1-standrad-16' for training\. Did you mean n1-standard-16\? Known: e2-",
        ),
        (
            {"machine": "e2-standard-4", "accelerator": "NVIDIA_TESLA_T4"},
            r"supports no GPU\. Machines that do: n1-standard-\*",
        ),
        (
            {"machine": "n1-standard-32", "accelerator": "NVIDIA_TESLA_T4", "accelerator_count": 1},
            r"accelerator_count: n1-standard-32 supports 2 or 4 NVIDIA_TESLA_T4, not 1",
        ),
        (
            {"machine": "n1-standard-8", "accelerator": "NVIDIA_L4"},
            r"does not support NVIDIA_L4\. Valid: NVIDIA_TESLA_T4, .*NVIDIA_L4 comes with g2-standard-4",
        ),
        (
            {"machine": "n1-standard-8", "accelerator_count": 2},
            r"accelerator_count=2 needs vertex\.trainer\.accelerator, .* Valid: NVIDIA_",
        ),
        ({"machine": "g2-standard-24", "accelerator_count": 1}, r"comes with 2 NVIDIA_L4, not 1; omit this key"),
        ({"machine": "g2-standard-4", "accelerator": "NVIDIA_TESLA_T4"}, r"comes with NVIDIA_L4, not NVIDIA_TESLA_T4"),
        ({"machine": "n1-standard-8", "topology": "2x2"}, r"topology: n1-standard-8 is not a TPU"),
        ({"machine": "v5e-12"}, r"Vertex AI has no slice v5e-12\. Known: v5e-1, v5e-4, v5e-8"),
        (
            {"machine": "ct5lp-hightpu-4t", "topology": "2x4"},
            r"ct5lp-hightpu-4t has no slice with topology=2x4\. Valid: topology=2x2, topology=4x4",
        ),
        (
            {"machine": "cloud-tpu"},
            r"several slices have the machine type cloud-tpu\. Add one of: accelerator=TPU_V2 accelerator_count=8",
        ),
        (
            {"machine": "cloud-tpu", "accelerator": "TPU_V3", "accelerator_count": 16},
            r"no slice with accelerator=TPU_V3, accelerator_count=16\. Valid: .*TPU_V3 accelerator_count=8",
        ),
    ],
)
def test_a_machine_that_does_not_exist_is_refused_with_those_that_do(named, message):
    with pytest.raises(ConfigError, match=message):
        found(**named)


def test_every_known_name_is_a_machine_or_leaves_open_which():
    for name in machine_names():
        if name == "cloud-tpu":
            continue
        machine = found(machine=name)
        assert machine.kind in ("TPU", "GPU", "CPU")


@given(
    st.sampled_from(machine_names()),
    st.none() | st.sampled_from(["NVIDIA_TESLA_T4", "NVIDIA_L4", "TPU_V2", "TPU_V3", "NVIDIA_TESLA_V100"]),
    st.none() | st.integers(1, 40),
    st.none() | st.sampled_from(["1x1", "2x2", "2x4", "4x4", "16x16", "3x3"]),
)
def test_a_machine_is_as_asked_or_refused(machine, accelerator, count, topology):
    try:
        chosen = found(machine=machine, accelerator=accelerator, accelerator_count=count, topology=topology)
    except ConfigError as error:
        assert str(error).startswith("vertex.trainer")
        return
    spec = chosen.spec()
    assert accelerator in (None, spec.get("accelerator_type"))
    assert count in (None, spec.get("accelerator_count"))
    assert topology in (None, spec.get("tpu_topology"))


@settings(max_examples=25)
@given(st.text(max_size=30))
def test_any_other_name_is_refused(name):
    if name.strip().lower() not in machine_names() and not re.match(r"v5lite", name):
        with pytest.raises(ConfigError, match="machine"):
            found(machine=name)


def test_names_of_machines_are_unique():
    names = machine_names()
    assert len(names) == len(set(names))
    assert not set(BUILT_IN_GPUS.value) & {name for family in HOST_FAMILIES.value for name in family.names}


def test_slices_are_those_of_the_table_of_accelerators():
    machines = tpu_machines()
    for generation in GENERATIONS:
        ours = [machine for machine in machines if machine.slice and machine.slice.generation is generation]
        assert [machine.slice.name for machine in ours if machine.slice] in ([], list(generation.slice_names))
    for machine in machines:
        assert machine.slice
        if machine.topology:
            width, height = map(int, machine.topology.split("x"))
            assert width * height == machine.slice.chips
            per_host = int(machine.type.rpartition("-")[2].removesuffix("t"))
            assert per_host * machine.slice.hosts == machine.slice.chips
        else:
            assert machine.accelerator_count == machine.slice.cores


def check(**overrides):
    section = {f"vertex.{key}": value for key, value in SECTION.items()}
    config = load_config(overrides=section | {key.replace("__", "."): value for key, value in overrides.items()})
    assert config.vertex
    check_fits(config.vertex, config.experiment)


TPU = {"vertex__tpu_image": IMAGE, "vertex__region": "us-central1", "training__batch_size": 1024}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training__strategy": "tpu"}, r"strategy=tpu needs vertex\.trainer; .* Set a machine"),
        ({"vertex__trainer": {"machine": "v6e-8"}}, r"vertex\.tpu_image: v6e-8 needs the image of TPU workers"),
        (
            TPU | {"vertex__trainer": {"machine": "v5e-8"}},
            r"placement=tpu_embedding .* v5e-8 has none\. Set it to replicated .* with an engine: v2, v3, v6e",
        ),
        (
            TPU
            | {
                "vertex__trainer": {"machine": "v5e-8"},
                "embeddings__placement": "replicated",
                "embeddings__pipelining": True,
            },
            r"pipelining needs an embedding engine, and v5e-8 has none",
        ),
        (
            TPU | {"vertex__trainer": {"machine": "v3-8"}, "vertex__region": "us-east1"},
            r"us-east1 has no TPU v3\. In the United States: us-central1",
        ),
        (TPU | {"vertex__trainer": {"machine": "v6e-8", "workers": 2}}, r"a TPU slice is one worker, not 2"),
        (
            TPU | {"vertex__trainer": {"machine": "v6e-16"}},
            r"v6e-16 has 4 hosts, .* a slice with one host: v2-8, v3-8, v5e-1",
        ),
        (
            TPU | {"vertex__trainer": {"machine": "v6e-8"}, "training__strategy": "mirrored"},
            r"strategy=mirrored does not work on 1 x v6e-8 \(TPU\)\. Valid: auto, tpu",
        ),
        (
            TPU | {"vertex__trainer": {"machine": "v6e-8"}, "training__batch_size": 1001},
            r"training\.batch_size=1001 is not a multiple of the 8 replicas of v6e-8; .* as in 1000",
        ),
        (
            {"vertex__trainer": {"machine": "n1-standard-8"}, "training__strategy": "mirrored"},
            r"strategy=mirrored does not work on 1 x n1-standard-8 \(CPU\)\. Valid: auto, cpu, multi_worker",
        ),
        (
            {"vertex__trainer": {"machine": "n1-standard-8", "workers": 3}, "training__strategy": "cpu"},
            r"strategy=cpu does not work on 3 x n1-standard-8",
        ),
    ],
)
def test_what_a_machine_cannot_train_is_refused_with_what_it_can(overrides, message):
    with pytest.raises(ConfigError, match=message):
        check(**overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"vertex__trainer": {"machine": "n1-standard-8", "workers": 3}},
        {"vertex__trainer": {"machine": "a2-highgpu-4g"}, "training__strategy": "mirrored"},
        TPU | {"vertex__trainer": {"machine": "v6e-8"}},
        TPU | {"vertex__trainer": {"machine": "v5e-8"}, "embeddings__placement": "replicated"},
        TPU | {"vertex__trainer": {"machine": "v6e-16"}, "training__tpu": "my-slice"},
        TPU | {"vertex__trainer": {"machine": "v3-8"}, "vertex__region": "europe-west4"},
    ],
)
def test_what_a_machine_can_train_is_not_refused(overrides):
    check(**overrides)
