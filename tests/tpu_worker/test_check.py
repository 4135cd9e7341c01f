"""What `make tpu-check` refuses; needs TensorFlow's TPU build, so it runs in the TPU worker's environment alone."""

import dataclasses
import io
from importlib import metadata

import pytest
import tensorflow as tf
from rich.console import Console

from tpu_worker import check
from tpu_worker.models import MODELS
from trainer_module.optimizers.config import Adagrad

pytestmark = pytest.mark.skipif(
    "tensorflow" in {distribution.name for distribution in metadata.distributions()},
    reason="needs TensorFlow for TPUs: make tpu-check",
)


def through_text(values: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_number(tf.strings.as_string(values))


def through_python(values: tf.Tensor) -> tf.Tensor:
    return tf.ensure_shape(tf.py_function(lambda x: x, [values], tf.float32), values.shape)


@dataclasses.dataclass(frozen=True)
class _Blueprint:
    """Another blueprint's model, with an operation on the labels' way into the loss."""

    inner: object
    operation: object

    @property
    def experiment(self):
        return self.inner.experiment

    def for_training(self, strategy, mean_label):
        model, optimizer = self.inner.for_training(strategy, mean_label)
        loss = model.per_example_loss
        model.per_example_loss = lambda features, labels, seed: loss(features, self.operation(labels), seed)
        return model, optimizer


def with_operation(operation):
    (model, *_) = MODELS.values()

    class Broken(type(model)):
        def blueprint(self, *arguments, **options):
            return _Blueprint(super().blueprint(*arguments, **options), operation)

    return Broken(model.config, model.spec)


def checked(monkeypatch, model) -> tuple[bool, str]:
    monkeypatch.setattr(check, "OPTIMIZERS", (Adagrad(learning_rate=0.1),))
    monkeypatch.setattr(check, "ENGINES", check.ENGINES[:1])
    output = io.StringIO()
    return check.report({"model": model}, Console(file=output, width=300)), output.getvalue()


@pytest.mark.parametrize(("operation", "name"), [(through_text, "AsString"), (through_python, "EagerPyFunc")])
def test_a_host_only_operation_in_the_step_is_refused_by_name(monkeypatch, operation, name):
    ok, output = checked(monkeypatch, with_operation(operation))
    assert not ok
    assert f"error: model, adagrad, V1: operations in the training step that a TPU cannot run: {name}" in output


def test_the_same_model_without_it_passes(monkeypatch):
    ok, output = checked(monkeypatch, next(iter(MODELS.values())))
    assert ok
    assert "KiB HLO" in output
