"""Stock TFX components from a CSV file to a blessed model, with the model of `benchmarks.data_path_workload`.

python -m benchmarks.stock_pipeline CSV_DIRECTORY ROOT

Prints one JSON line: seconds by component, and RMSE and MAE on the test split.
"""

import json
import sys
from pathlib import Path
from typing import Any

import trainer_module  # noqa: F401 (selects Keras 2)

import tensorflow as tf  # isort: skip
import tensorflow_model_analysis as tfma
import tensorflow_transform as tft
from tensorflow_model_analysis.proto import config_pb2
from tfx import v1 as tfx
from tfx_bsl.public import tfxio

from benchmarks.data_path_workload import BATCH_SIZE, BOTTOM, DENSE_RATE, DIM, TOP
from pipeline.beam import in_process_args
from pipeline.local.runner import ObservedLocalRunner

_SPLITS = (("train", 8), ("eval", 1), ("test", 1))


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    """Tokens to ids, the number to a z-score."""
    dense = {
        name: tf.sparse.to_dense(value) if isinstance(value, tf.SparseTensor) else value
        for name, value in inputs.items()
    }
    ids = {
        name: tft.compute_and_apply_vocabulary(dense[name], vocab_filename=name, num_oov_buckets=1)
        for name in ("user", "item")
    }
    return ids | {"number": tft.scale_to_z_score(dense["number"]), "rating": dense["rating"]}


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains one epoch and exports, as TFX's tutorials do."""
    output = tft.TFTransformOutput(fn_args.transform_output)

    def batches(files: list[str], size: int) -> tf.data.Dataset:
        options = tfxio.TensorFlowDatasetOptions(batch_size=size, label_key="rating", num_epochs=1)
        return fn_args.data_accessor.tf_dataset_factory(files, options, output.transformed_metadata.schema)

    inputs = {name: tf.keras.Input((1,), name=name, dtype=tf.int64) for name in ("user", "item")}
    inputs["number"] = tf.keras.Input((1,), name="number")
    rows = [
        tf.keras.layers.Flatten()(
            tf.keras.layers.Embedding(output.vocabulary_size_by_name(name) + 1, DIM)(inputs[name])
        )
        for name in ("user", "item")
    ]
    dense = tf.keras.layers.Dense(DIM, "relu")(tf.keras.layers.Dense(BOTTOM, "relu")(inputs["number"]))
    pairs = [(rows[0], rows[1]), (rows[0], dense), (rows[1], dense)]
    dots = [tf.keras.layers.Dot(1)(pair) for pair in pairs]
    top = tf.keras.layers.Dense(TOP, "relu")(tf.keras.layers.Concatenate()([dense, *dots]))
    mean = tf.keras.initializers.Constant(3.5)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(1, bias_initializer=mean)(top))
    model.compile(tf.keras.optimizers.Adam(DENSE_RATE), "mse")
    model.fit(batches(fn_args.train_files, BATCH_SIZE), validation_data=batches(fn_args.eval_files, 8192), verbose=0)
    model.transform = output.transform_features_layer()
    spec = {name: value for name, value in output.raw_feature_spec().items() if name != "rating"}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(examples):
        return {"rating": model(model.transform(tf.io.parse_example(examples, spec)))}

    model.save(fn_args.serving_model_dir, save_format="tf", signatures={"serving_default": serve})


def main(csv_directory: Path, root: Path) -> None:
    """Runs the components one after another."""
    splits = [tfx.proto.SplitConfig.Split(name=name, hash_buckets=buckets) for name, buckets in _SPLITS]
    output = tfx.proto.Output(split_config=tfx.proto.SplitConfig(splits=splits))
    example_gen = tfx.components.CsvExampleGen(str(csv_directory), output_config=output)
    statistics = tfx.components.StatisticsGen(examples=example_gen.outputs["examples"])
    schema = tfx.components.SchemaGen(statistics=statistics.outputs["statistics"])
    validator = tfx.components.ExampleValidator(
        statistics=statistics.outputs["statistics"], schema=schema.outputs["schema"]
    )
    transform = tfx.components.Transform(
        examples=example_gen.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="benchmarks.stock_pipeline.preprocessing_fn",
    )
    trainer = tfx.components.Trainer(
        run_fn="benchmarks.stock_pipeline.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        train_args=tfx.proto.TrainArgs(splits=["train"]),
        eval_args=tfx.proto.EvalArgs(splits=["eval"]),
    )
    evaluator = tfx.components.Evaluator(
        examples=example_gen.outputs["examples"],
        model=trainer.outputs["model"],
        example_splits=["test"],
        eval_config=config_pb2.EvalConfig(
            model_specs=[
                config_pb2.ModelSpec(signature_name="serving_default", label_key="rating", prediction_key="rating")
            ],
            slicing_specs=[config_pb2.SlicingSpec()],
            metrics_specs=[
                config_pb2.MetricsSpec(
                    metrics=[
                        config_pb2.MetricConfig(class_name="RootMeanSquaredError", config='"name": "rmse"'),
                        config_pb2.MetricConfig(class_name="MeanAbsoluteError", config='"name": "mae"'),
                    ]
                )
            ],
        ),
    )
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="stock",
        pipeline_root=str(root),
        components=[example_gen, statistics, schema, validator, transform, trainer, evaluator],
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "metadata")),
        beam_pipeline_args=list(in_process_args()),
    )
    runs = ObservedLocalRunner("benchmark", Progress()).run(pipeline) or []
    seconds = {run.component: run.seconds for run in runs}
    (evaluation,) = (root / "Evaluator" / "evaluation").iterdir()
    metrics = tfma.load_eval_result(str(evaluation)).get_metrics_for_all_slices()[()]
    found = {name: metrics[name]["doubleValue"] for name in ("rmse", "mae")}
    print(json.dumps({"seconds": seconds, "metrics": found}))


class Progress:
    """Says on the standard error which component works."""

    def started(self, component: str) -> None:
        """Names the component."""
        print(f"{component} ...", file=sys.stderr)

    def finished(self, component: str, seconds: float, cached: bool) -> None:
        """Gives the component's seconds."""
        print(f"{component}: {'cached' if cached else f'{seconds:.1f} s'}", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
