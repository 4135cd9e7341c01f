"""A curated schema for datasets whose user names none: what follows from the feature spec alone."""

from tensorflow_metadata.proto.v0 import schema_pb2

from trainer_module.data.spec import DatasetSpec
from trainer_module.data.features import Column

_TYPES = {"string": schema_pb2.BYTES, "int64": schema_pb2.INT, "float32": schema_pb2.FLOAT}


def derive_schema(dataset: DatasetSpec) -> schema_pb2.Schema:
    """Types, shapes and presence of all columns, and the label's range.

    A required column has exactly one value per example; any other must have one somewhere, and at most one per example
    unless it is multivalent. Domains of tokens do not follow from the spec.
    """
    label = dataset.features.label.name
    return schema_pb2.Schema(
        feature=[
            _feature(column, dataset.label_range if column.name == label else None)
            for column in dataset.features.columns
        ]
    )


def _feature(column: Column, value_range: tuple[float, float] | None) -> schema_pb2.Feature:
    feature = schema_pb2.Feature(name=column.name, type=_TYPES[column.dtype])
    feature.presence.min_count = 1
    if column.required and not column.multivalent:
        feature.presence.min_fraction = 1.0
        feature.shape.dim.add(size=1)
    elif not column.multivalent:
        feature.value_count.max = 1
    if value_range:
        feature.float_domain.min, feature.float_domain.max = value_range
    return feature
