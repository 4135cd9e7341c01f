"""Names of directories and files that are patterns, or look like them."""

import os

import pytest
from tfx.components.example_gen.utils import calculate_splits_fingerprint_span_and_version as fingerprint
from tfx.proto import example_gen_pb2
from tfx.utils import proto_utils

from components.example_gen.component import TablesExampleGen
from components.example_gen.config import DataConfig
from components.example_gen.readers.files import find_files
from trainer_module.data.paths import literal
from trainer_module.errors import DataError

FILES = [
    ("data [v1]", "clicks.csv"),
    ("data", "clicks[1].csv"),
    ("d*ta ?", "[a]/clicks.csv"),
    ("dätä 数", "a b.csv"),
    ("data", "a'b\"c.csv"),
]


@pytest.mark.parametrize("directory, name", FILES)
def test_driver_and_executor_find_the_file(directory, name, tmp_path, monkeypatch):
    file = tmp_path / directory / name
    file.parent.mkdir(parents=True)
    file.write_text("user,item,label\na,b,1\n")
    for written, current in ((str(file), tmp_path), (name, tmp_path / directory), (f"./{name}", tmp_path / directory)):
        monkeypatch.chdir(current)
        data = DataConfig.model_validate(
            {"interactions": {"files": written, "user": "user", "item": "item", "label": "label"}, "task": "click"}
        )
        component = TablesExampleGen(data.directory, DataConfig.model_validate(data.portable().model_dump()))
        splits = example_gen_pb2.Input()
        proto_utils.json_to_proto(component.exec_properties["input_config"], splits)
        found, _, _ = fingerprint(component.exec_properties["input_base"], splits.splits)
        assert "num_files:1," in found
        base = literal(component.exec_properties["input_base"])
        assert base == data.directory
        assert list(map(os.path.realpath, find_files(base, data.portable().interactions, "interactions"))) == [
            str(file)
        ]


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_what_is_no_file_is_refused_and_not_waited_for(kind, tmp_path):
    path = tmp_path / "it.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    data = DataConfig.model_validate({"interactions": {"files": str(path), "label": "label"}, "task": "click"})
    with pytest.raises(DataError, match=r"a pipe, device or socket|a directory, and a file is expected"):
        find_files(data.directory, data.portable().interactions, "interactions")
