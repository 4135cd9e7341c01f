"""Reads a dataset directory, splits its rows and publishes examples, or nothing."""

import os
from typing import Any

import tensorflow as tf
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils, standard_component_specs

from components.example_gen.blocks import find_blocks
from components.example_gen.config import IngestConfig
from components.example_gen.layout import FILES, RATINGS_FILE
from components.example_gen.old_splits import SPLITS, check_num_lines
from components.example_gen.outcome import Outcome, check_bad_rows, check_splits, combine
from components.example_gen.packed_config import unpack
from components.example_gen.reporting import publish, take_outcome
from components.example_gen.transforms import Ingestion, ingest, load_catalog, open_file
from trainer_module.data.datasets import dataset_spec
from trainer_module.data.spec import CANDIDATES, QUERIES
from trainer_module.errors import DataError

# Some 200,000 ratings: enough to amortize Beam's cost per element, and a few tens of MB in memory.
BLOCK_BYTES = 4 << 20


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the examples of `MovieLensExampleGen`."""

    def Do(  # noqa: N802 (the name that TFX calls)
        self, input_dict: dict[str, list], output_dict: dict[str, list], exec_properties: dict[str, Any]
    ) -> None:
        """Ingests the dataset.

        Args:
            input_dict: Empty.
            output_dict: Holds one `Examples` artifact under `examples`. It gets the splits `train`, `eval` and
                `test`, for retrieval also `candidates` and `queries`; the custom properties `bad_rows`,
                `rows_train`, `rows_eval` and `rows_test` (int); and, if bad rows were tolerated, these as JSON lines
                in `quarantine/bad_rows.jsonl`.
            exec_properties: Those of `FileBasedExampleGen`; the custom config holds an `IngestConfig`.

        Raises:
            DataError: A file is missing or empty, too many rows are bad, a split is empty, or the splits leak.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        config = IngestConfig.model_validate_json(unpack(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY]))
        data_dir = exec_properties[standard_component_specs.INPUT_BASE_KEY]
        artifact = artifact_utils.get_single_instance(output_dict[standard_component_specs.EXAMPLES_KEY])
        of_items = (CANDIDATES, QUERIES) if dataset_spec(config.dataset).task == "retrieval" else ()
        artifact.split_names = artifact_utils.encode_split_names([*SPLITS, *of_items])
        uris = {split: artifact_utils.get_split_uri([artifact], split) for split in (*SPLITS, *of_items)}
        for uri in uris.values():
            tf.io.gfile.makedirs(uri)

        _require_files(data_dir)
        with open_file(os.path.join(data_dir, RATINGS_FILE)) as file:
            blocks = list(find_blocks(file, BLOCK_BYTES))
        if not blocks:
            raise DataError(f"{os.path.join(data_dir, RATINGS_FILE)} is empty; expected one rating a line")
        num_lines = sum(block.num_lines for block in blocks)
        check_num_lines(config.protocol, num_lines)
        _, bad_attributes = load_catalog(data_dir)
        attributes = combine(
            [Outcome(num_bad_rows=len(bad_attributes), bad_rows=tuple(bad_attributes))], config.max_bad_rows
        )
        check_bad_rows(attributes, config.max_bad_rows, data_dir)

        run = Ingestion(data_dir, config, uris, artifact.uri, len(blocks), num_lines)
        with self._make_beam_pipeline() as pipeline:
            ingest(pipeline, blocks, run)
        outcome = combine([attributes, take_outcome(artifact.uri)], config.max_bad_rows)
        check_bad_rows(outcome, config.max_bad_rows, data_dir)
        check_splits(outcome, config.protocol)
        publish(artifact, outcome)


def _require_files(data_dir: str) -> None:
    missing = [name for name in FILES if not tf.io.gfile.exists(os.path.join(data_dir, name))]
    if missing:
        raise DataError(
            f"{data_dir}: no {', '.join(missing)}; expected {', '.join(FILES)} there. Run `recspan data fetch "
            "movielens-100k`, or go on without a download: `recspan pipeline run --dataset synthetic`."
        )
