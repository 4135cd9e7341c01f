"""Lowers a traced training step with TensorFlow's TPU compilers, on a machine without a TPU.

Two compilers translate a training loop for a TPU. TensorFlow's bridge splits the traced loop into a host part and a
device program; `run_tpu_bridge` runs it. XLA compiles the device program to TPU code; `tpu_hlo` runs the part of XLA
that ends with HLO and refuses unsupported operations. This part accepts no variables, so `step_as_function` first turns
them into arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf
from tensorflow.python import pywrap_mlir
from tensorflow.python.eager.polymorphic_function.compiler_ir import make_handledata_tensor_specs
from tensorflow.python.framework import kernels

from trainer_module.errors import ModelError

# Device type of the kernels that XLA uses for TPUs. Only TensorFlow's TPU build registers it.
XLA_TPU = "XLA_TPU_JIT"
# The same for CPUs, in every build of TensorFlow.
XLA_CPU = "XLA_CPU_JIT"

_BRIDGE = "tf-replicated-clustering-bridge-v2"

# Attributes with which `strategy.run` marks device operations, and device operations that stay on the host.
_ON_DEVICE = ("_tpu_replicate", "_replication_info")
_ON_HOST = "_xla_outside_compilation"
# Operations that mark the borders of the device program and do not belong to it.
_MARKERS = ("Placeholder", "NoOp", "TPUReplicateMetadata")
_PASSING_THROUGH = ("Identity", "TPUReplicatedInput")
# Operations of the embedding engine. Their outputs enter the dense program, their inputs leave it.
_ENGINE = ("RecvTPUEmbeddingActivations", "SendTPUEmbeddingGradients", "XlaSparseDenseMatmul")
# Attributes that refer to the operation's own graph.
_BOUND_TO_GRAPH = {"_class", "_gradient_op_type", *_ON_DEVICE}


def run_tpu_bridge(graph: tf.Graph) -> str:
    """Runs TensorFlow's TPU bridge on a traced training loop and returns the result as MLIR text.

    Raises:
        ModelError: The bridge made no device program, because the graph contains no TPU step or because this release
            has renamed the bridge.
    """
    imported = tf.mlir.experimental.convert_graph_def(graph.as_graph_def(), "tf-standard-pipeline")
    bridged = pywrap_mlir.experimental_run_pass_pipeline(imported, _BRIDGE, False)
    # The call ignores an unknown pipeline silently.
    if "tf_device.cluster" not in bridged:
        raise ModelError(f"the TPU bridge ({_BRIDGE}) made no device program from this graph")
    return bridged


@dataclass(frozen=True)
class StepFunction:
    """The device part of a training step as a function without variables.

    Attributes:
        function: Takes one tensor per argument and returns two lists: outputs, and new values of the variables. The
            outputs are the results of the step and the tensors for the host and the embedding engine.
        arguments: Specs of the arguments: first the values from the host or the engine, each named after the operation
            that produces it, then the values of the variables.
        num_variables: Number of variables among the arguments.
    """

    function: Callable[..., tuple[list[tf.Tensor], list[tf.Tensor]]]
    arguments: tuple[tf.TensorSpec, ...]
    num_variables: int


def without_kernel(step: tf.types.experimental.ConcreteFunction, device: str) -> dict[str, str]:
    """Returns the operations of a step's device part for which a device type has no kernel: type by name.

    Args:
        step: A traced step.
        device: `XLA_TPU` or `XLA_CPU`.
    """
    return {
        op.name: op.type
        for op in _StepPartition(step.graph).device_ops
        if not any(kernel.device_type == device for kernel in kernels.get_registered_kernels_for_op(op.type).kernel)
    }


def step_as_function(step: tf.types.experimental.ConcreteFunction, bags: tuple[int, int] | None = None) -> StepFunction:
    """Turns the variables of a traced step into arguments and removes the host and the embedding engine.

    Reads and writes of variables become plain arithmetic. Fused optimizer updates become the formulas in their
    documentation, so the result does not contain the fused operations (`without_kernel` checks them).

    Args:
        step: Traced step, with or without a TPU strategy.
        bags: Shape `[batch, length]` of the bags that the host makes dense if the TPU has no embedding engine. The step
            does not contain this shape.

    Raises:
        ModelError: The step uses a variable in an unsupported way, or a tensor from the host has an unknown shape and
            is not a bag.
    """
    partition = _StepPartition(step.graph)
    handles = {id(inside): inside for inside in step.graph.inputs if inside.dtype == tf.resource}
    captured = [outside for outside in step.captured_inputs if outside.dtype == tf.resource]
    values = tuple(make_handledata_tensor_specs(captured))
    names = [tensor.name for tensor in handles.values()]
    device_inputs = partition.inputs()
    specs = tuple(tf.TensorSpec(_static_shape(tensor, bags), tensor.dtype, tensor.op.name) for tensor in device_inputs)

    def function(*arguments: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        given, variables = arguments[: len(device_inputs)], arguments[len(device_inputs) :]
        known = {tensor.name: value for tensor, value in zip(device_inputs, given, strict=True)}
        state = dict(zip(names, variables, strict=True))
        for op in partition.device_ops:
            inputs = [partition.origin(tensor).name for tensor in op.inputs]
            if any(tensor.dtype == tf.resource for tensor in op.inputs):
                _apply_rule(op, inputs, known, state)
            else:
                outputs = _copied(op, [known[name] for name in inputs])
                known |= {old.name: new for old, new in zip(op.outputs, outputs, strict=True)}
        return [known[tensor.name] for tensor in partition.outputs()], list(state.values())

    return StepFunction(function, (*specs, *values), len(values))


def tpu_hlo(step: StepFunction) -> str:
    """Compiles the step to HLO text for TPUs. This needs TensorFlow's TPU build, but no TPU.

    Raises:
        tf.errors.OpError: XLA cannot compile the step; the message names the operations.
    """
    compiled = tf.function(step.function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir(*step.arguments)(stage="hlo", platform_name="TPU")


class _StepPartition:
    """Splits a traced step into device operations and the rest, and lists the tensors that cross the border."""

    def __init__(self, graph: tf.Graph):
        self._graph = graph
        operations = graph.get_operations()
        replicated = any(_is_marked(op, _ON_DEVICE) for op in operations)
        program = [op for op in operations if not replicated or _is_marked(op, _ON_DEVICE)]
        program = [op for op in program if not _is_marked(op, (_ON_HOST,)) and op.type not in _MARKERS]
        self.device_ops: list[tf.Operation] = []
        self._device_tensors: set[str] = set()
        for op in program:
            # An identity of a tensor from outside the device adds only another name.
            is_alias = op.type == "Identity" and self.origin(op.inputs[0]).name not in self._device_tensors
            if not op.type.startswith(_ENGINE) and not is_alias:
                self.device_ops.append(op)
                self._device_tensors |= {tensor.name for tensor in op.outputs}

    def origin(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns the tensor, or the tensor outside the device program of which it is a copy."""
        while tensor.name not in self._device_tensors and tensor.op.type in _PASSING_THROUGH:
            tensor = tensor.op.inputs[0]
        return tensor

    def inputs(self) -> list[tf.Tensor]:
        """Returns the tensors that the device receives from the host or the engine, in order of use."""
        used = [self.origin(tensor) for op in self.device_ops for tensor in op.inputs if tensor.dtype != tf.resource]
        used += self._results()
        return list({tensor.name: tensor for tensor in used if tensor.name not in self._device_tensors}.values())

    def outputs(self) -> list[tf.Tensor]:
        """Returns the results of the step and the tensors that the device sends to the host or the engine."""
        device_ops = set(self.device_ops)
        used_outside = (tensor for op in self._graph.get_operations() if op not in device_ops for tensor in op.inputs)
        sent = [
            tensor for tensor in used_outside if tensor.name in self._device_tensors and tensor.dtype != tf.resource
        ]
        return list({tensor.name: tensor for tensor in [*self._results(), *sent]}.values())

    def _results(self) -> list[tf.Tensor]:
        through = ("Identity", "TPUReplicatedOutput")
        results = []
        for tensor in self._graph.outputs:
            while tensor.name not in self._device_tensors and tensor.op.type in through:
                tensor = tensor.op.inputs[0]
            results.append(tensor)
        return results


def _static_shape(tensor: tf.Tensor, bags: tuple[int, int] | None) -> tuple[int, ...]:
    sizes = tuple(size for size in tensor.shape if size is not None)
    if len(sizes) == tensor.shape.rank:
        return sizes
    if bags is None or not tensor.shape.is_compatible_with(bags):
        raise ModelError(
            f"{tensor.name} comes from the host with the unknown shape {tensor.shape} and is not a bag of ids"
        )
    return bags


def _is_marked(op: tf.Operation, attributes: Sequence[str]) -> bool:
    return any(attribute in op.node_def.attr for attribute in attributes)


def _copied(op: tf.Operation, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    """Copies an operation into the current graph and returns its outputs."""
    attributes = {name: value for name, value in op.node_def.attr.items() if name not in _BOUND_TO_GRAPH}
    copy = tf.compat.v1.get_default_graph()._create_op_internal(
        op.type, inputs, [tensor.dtype for tensor in op.outputs], name=op.name.replace("/", "_"), attrs=attributes
    )
    return list(copy.outputs)


def _apply_rule(op: tf.Operation, inputs: list[str], known: dict[str, tf.Tensor], state: dict[str, tf.Tensor]) -> None:
    """Applies an operation on variables.

    Args:
        op: The operation.
        inputs: Names of its input tensors.
        known: Values by tensor name; the outputs of a read are added.
        state: Values of variables by handle name; a write replaces them.

    Raises:
        ModelError: The operation is not supported.
    """
    handles = [name for name in inputs if name in state]
    values = [known[name] for name in inputs if name not in state]
    if op.type in _READS:
        (output,) = op.outputs
        known[output.name] = _READS[op.type](state[handles[0]], output.dtype, *values)
    elif op.type in _WRITES:
        written = _WRITES[op.type](*(state[handle] for handle in handles), *values)
        state |= dict(zip(handles, written, strict=True))
    else:
        raise ModelError(
            f"{op.name} ({op.type}) uses a variable in an unsupported way. Supported operations: "
            f"{', '.join(sorted([*_READS, *_WRITES]))}"
        )


def _adam(var, m, v, beta1_power, beta2_power, rate, beta1, beta2, epsilon, gradient):
    m = beta1 * m + (1 - beta1) * gradient
    v = beta2 * v + (1 - beta2) * tf.square(gradient)
    rate = rate * tf.sqrt(1 - beta2_power) / (1 - beta1_power)
    return var - rate * m / (tf.sqrt(v) + epsilon), m, v


def _adagrad(var, accumulator, rate, epsilon, gradient):
    accumulator = accumulator + tf.square(gradient)
    return var - rate * gradient / (tf.sqrt(accumulator) + epsilon), accumulator


def _ftrl(var, accumulator, linear, gradient, rate, l1, l2, power):
    larger = accumulator + tf.square(gradient)
    sigma = (larger**-power - accumulator**-power) / rate
    linear = linear + gradient - sigma * var
    quadratic = larger**-power / rate + 2 * l2
    shrunk = (tf.sign(linear) * l1 - linear) / quadratic
    return tf.where(tf.abs(linear) > l1, shrunk, tf.zeros_like(var)), larger, linear


# Functions of a variable's value, the output's type and the other inputs that return the output.
_READS: Mapping[str, Callable[..., tf.Tensor]] = {
    "ReadVariableOp": lambda value, dtype: tf.identity(value),
    "ResourceGather": lambda value, dtype, indices: tf.gather(value, indices),
    "VariableShape": lambda value, dtype: tf.shape(value, out_type=dtype),
}

# Functions of the variables' values and the other inputs that return the variables' new values. The formulas are those
# of the operations' documentation.
_WRITES: Mapping[str, Callable[..., tuple[tf.Tensor, ...]]] = {
    "AssignVariableOp": lambda value, new: (new,),
    "AssignAddVariableOp": lambda value, addend: (value + addend,),
    "AssignSubVariableOp": lambda value, subtrahend: (value - subtrahend,),
    "ResourceScatterAdd": lambda value, rows, addend: (tf.tensor_scatter_nd_add(value, rows[:, None], addend),),
    "ResourceApplyGradientDescent": lambda value, rate, gradient: (value - rate * gradient,),
    "ResourceApplyAdagradV2": _adagrad,
    "ResourceApplyAdam": _adam,
    "ResourceApplyFtrl": _ftrl,
}
