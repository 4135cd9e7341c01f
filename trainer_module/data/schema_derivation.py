"""A curated schema for datasets whose user names none: what follows from the feature spec alone."""

from tensorflow_metadata.proto.v0 import schema_pb2

from trainer_module.data.features import Column
from trainer_module.data.spec import DatasetSpec

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


def curated_schema(dataset: DatasetSpec, known: schema_pb2.Schema) -> schema_pb2.Schema:
    """The part of a known dataset's schema that an experiment uses, and derived features for its other columns.

    A known dataset's columns depend on task, slices and joins. Types and domains come from the curated schema; shape
    and presence follow from the feature spec, because Transform reads a column by them.

    Args:
        dataset: Gives the columns.
        known: Curated features by name, and the domains that they name.
    """
    curated = {feature.name: feature for feature in known.feature}
    features = [_merged(curated.get(feature.name), feature) for feature in derive_schema(dataset).feature]
    used = {feature.domain for feature in features if feature.domain}
    return schema_pb2.Schema(
        feature=features, string_domain=[domain for domain in known.string_domain if domain.name in used]
    )


def _merged(curated: schema_pb2.Feature | None, derived: schema_pb2.Feature) -> schema_pb2.Feature:
    """The curated feature in the shape that the spec gives it; without one, the derived feature."""
    if curated is None:
        return derived
    merged = schema_pb2.Feature()
    merged.CopyFrom(curated)
    merged.ClearField("shape")
    if derived.HasField("shape"):
        merged.ClearField("value_count")
        merged.shape.CopyFrom(derived.shape)
        merged.presence.CopyFrom(derived.presence)
    elif derived.HasField("value_count"):
        merged.value_count.CopyFrom(derived.value_count)
    return merged


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
