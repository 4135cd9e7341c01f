"""From a traced training step to what the TPU's compilers make of it, on a machine without a TPU.

Two compilers stand between a training loop and a TPU. TensorFlow's bridge cuts the traced loop into a host's part and
a device's program; `run_tpu_bridge` runs it. XLA turns the device's program into TPU code; `tpu_hlo` runs its first
half, which refuses what a TPU cannot do. XLA takes no variables here, so `step_as_function` first makes them arguments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf
from tensorflow.python import pywrap_mlir
from tensorflow.python.eager.polymorphic_function.compiler_ir import make_handledata_tensor_specs
from tensorflow.python.framework import kernels

from trainer_module.errors import ModelError

# The kind of device whose kernels the TPU's compiler uses; TensorFlow for TPUs registers it.
XLA_TPU = "XLA_TPU_JIT"
# Its sibling for CPUs, which every TensorFlow has.
XLA_CPU = "XLA_CPU_JIT"

_BRIDGE = "tf-replicated-clustering-bridge-v2"

# Attributes by which `strategy.run` marks the device's operations, and those among them that stay on the host.
_ON_DEVICE = ("_tpu_replicate", "_replication_info")
_ON_HOST = "_xla_outside_compilation"
# What says where the device's program begins and ends, but is no part of it.
_MARKERS = ("Placeholder", "NoOp", "TPUReplicateMetadata")
_PASSING_THROUGH = ("Identity", "TPUReplicatedInput")
# Operations of the embedding engine: what they give comes from outside the dense program, what they get leaves it.
_ENGINE = ("RecvTPUEmbeddingActivations", "SendTPUEmbeddingGradients", "XlaSparseDenseMatmul")
# Attributes that tie an operation to the graph that it comes from.
_BOUND_TO_GRAPH = {"_class", "_gradient_op_type", *_ON_DEVICE}


def run_tpu_bridge(graph: tf.Graph) -> str:
    """What TensorFlow's TPU bridge makes of a traced training loop, as MLIR text.

    Raises:
        ModelError: The bridge made no device program; the graph holds no TPU step, or the bridge has another name in
            this release.
    """
    imported = tf.mlir.experimental.convert_graph_def(graph.as_graph_def(), "tf-standard-pipeline")
    bridged = pywrap_mlir.experimental_run_pass_pipeline(imported, _BRIDGE, False)
    # An unknown pipeline is not an error: it silently does nothing.
    if "tf_device.cluster" not in bridged:
        raise ModelError(f"the TPU bridge ({_BRIDGE}) made no device program of this graph")
    return bridged


@dataclass(frozen=True)
class StepFunction:
    """The device's half of a training step, free of variables.

    Attributes:
        function: From one tensor per argument to outputs and new values of variables, two lists. Outputs are
            what the step returns and what it hands to the host and to the embedding engine.
        arguments: What `function` takes: first the values that come from the host or the engine, named by the
            operation of the step that gives them, then the values of variables.
        num_variables: How many of the arguments are variables, the last ones.
    """

    function: Callable[..., tuple[list[tf.Tensor], list[tf.Tensor]]]
    arguments: tuple[tf.TensorSpec, ...]
    num_variables: int


def without_kernel(step: tf.types.experimental.ConcreteFunction, device: str) -> dict[str, str]:
    """Operations of the step's device half that a kind of device has no kernel for: type by name.

    Args:
        step: A traced step.
        device: `XLA_TPU` or `XLA_CPU`.
    """
    return {
        op.name: op.type
        for op in _Anatomy(step.graph).device_ops
        if not any(kernel.device_type == device for kernel in kernels.get_registered_kernels_for_op(op.type).kernel)
    }


def step_as_function(step: tf.types.experimental.ConcreteFunction, bags: tuple[int, int] | None = None) -> StepFunction:
    """Lifts the variables of a traced step to arguments, and cuts the host and the embedding engine off.

    Reads and writes of variables become plain arithmetic, fused optimizer updates by the formulas of their
    documentation, so the fused operations themselves are not part of the result (`without_kernel` looks at them).

    Args:
        step: Traced, with or without a TPU strategy.
        bags: Shape `[batch, length]` of the bags that the host makes dense where there is no embedding engine; the
            step alone does not know it.

    Raises:
        ModelError: The step does something to a variable that has no rule here, or what comes from the host has an
            unknown shape and is no bag.
    """
    anatomy = _Anatomy(step.graph)
    handles = {id(inside): inside for inside in step.graph.inputs if inside.dtype == tf.resource}
    captured = [outside for outside in step.captured_inputs if outside.dtype == tf.resource]
    values = tuple(make_handledata_tensor_specs(captured))
    names = [tensor.name for tensor in handles.values()]
    fed = anatomy.entering()
    specs = tuple(tf.TensorSpec(_static_shape(tensor, bags), tensor.dtype, tensor.op.name) for tensor in fed)

    def function(*arguments: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        known = {tensor.name: value for tensor, value in zip(fed, arguments[: len(fed)], strict=True)}
        state = dict(zip(names, arguments[len(fed) :], strict=True))
        for op in anatomy.device_ops:
            inputs = [anatomy.origin(tensor).name for tensor in op.inputs]
            if any(tensor.dtype == tf.resource for tensor in op.inputs):
                _apply_rule(op, inputs, known, state)
            else:
                outputs = _copied(op, [known[name] for name in inputs])
                known |= {old.name: new for old, new in zip(op.outputs, outputs, strict=True)}
        return [known[tensor.name] for tensor in anatomy.leaving()], list(state.values())

    return StepFunction(function, (*specs, *values), len(values))


def tpu_hlo(step: StepFunction) -> str:
    """The step as HLO text for TPUs; needs TensorFlow's TPU build, but no TPU.

    Raises:
        tf.errors.OpError: XLA cannot compile it; the message names the operations.
    """
    compiled = tf.function(step.function, jit_compile=True, autograph=False)
    return compiled.experimental_get_compiler_ir(*step.arguments)(stage="hlo", platform_name="TPU")


class _Anatomy:
    """Which operations of a traced step are the device's, and where data crosses."""

    def __init__(self, graph: tf.Graph):
        self._graph = graph
        operations = graph.get_operations()
        replicated = any(_is_marked(op, _ON_DEVICE) for op in operations)
        program = [op for op in operations if not replicated or _is_marked(op, _ON_DEVICE)]
        program = [op for op in program if not _is_marked(op, (_ON_HOST,)) and op.type not in _MARKERS]
        self.device_ops: list[tf.Operation] = []
        self._of_device: set[str] = set()
        for op in program:
            # A copy of what comes from outside only names it once more.
            named_again = op.type == "Identity" and self.origin(op.inputs[0]).name not in self._of_device
            if not op.type.startswith(_ENGINE) and not named_again:
                self.device_ops.append(op)
                self._of_device |= {tensor.name for tensor in op.outputs}

    def origin(self, tensor: tf.Tensor) -> tf.Tensor:
        """The tensor itself, or what it is a copy of outside the device's program."""
        while tensor.name not in self._of_device and tensor.op.type in _PASSING_THROUGH:
            tensor = tensor.op.inputs[0]
        return tensor

    def entering(self) -> list[tf.Tensor]:
        """What the device gets from the host or the engine, in order of use."""
        wanted = [self.origin(tensor) for op in self.device_ops for tensor in op.inputs if tensor.dtype != tf.resource]
        wanted += self._results()
        return list({tensor.name: tensor for tensor in wanted if tensor.name not in self._of_device}.values())

    def leaving(self) -> list[tf.Tensor]:
        """What the step returns, and what it computes for the host or the engine."""
        mine = set(self.device_ops)
        handed_over = (tensor for op in self._graph.get_operations() if op not in mine for tensor in op.inputs)
        given = [tensor for tensor in handed_over if tensor.name in self._of_device and tensor.dtype != tf.resource]
        return list({tensor.name: tensor for tensor in [*self._results(), *given]}.values())

    def _results(self) -> list[tf.Tensor]:
        through = ("Identity", "TPUReplicatedOutput")
        results = []
        for tensor in self._graph.outputs:
            while tensor.name not in self._of_device and tensor.op.type in through:
                tensor = tensor.op.inputs[0]
            results.append(tensor)
        return results


def _static_shape(tensor: tf.Tensor, bags: tuple[int, int] | None) -> tuple[int, ...]:
    sizes = tuple(size for size in tensor.shape if size is not None)
    if len(sizes) == tensor.shape.rank:
        return sizes
    if bags is None or not tensor.shape.is_compatible_with(bags):
        raise ModelError(
            f"{tensor.name} comes from the host with the unknown shape {tensor.shape}, and is no bag of ids"
        )
    return bags


def _is_marked(op: tf.Operation, attributes: Sequence[str]) -> bool:
    return any(attribute in op.node_def.attr for attribute in attributes)


def _copied(op: tf.Operation, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    """The outputs of the same operation in the graph that is being built."""
    attributes = {name: value for name, value in op.node_def.attr.items() if name not in _BOUND_TO_GRAPH}
    copy = tf.compat.v1.get_default_graph()._create_op_internal(
        op.type, inputs, [tensor.dtype for tensor in op.outputs], name=op.name.replace("/", "_"), attrs=attributes
    )
    return list(copy.outputs)


def _apply_rule(op: tf.Operation, inputs: list[str], known: dict[str, tf.Tensor], state: dict[str, tf.Tensor]) -> None:
    """What an operation on variables reads and writes, told in `known` and `state`, both by tensor name."""
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
            f"{op.name} ({op.type}) uses a variable in a way that cannot be lowered; known: "
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


# From a variable's value, the output's type and the other inputs to the output.
_READS: Mapping[str, Callable[..., tf.Tensor]] = {
    "ReadVariableOp": lambda value, dtype: tf.identity(value),
    "ResourceGather": lambda value, dtype, indices: tf.gather(value, indices),
    "VariableShape": lambda value, dtype: tf.shape(value, out_type=dtype),
}

# From the variables' values and the other inputs to the variables' new values; formulas as in the operations'
# documentation.
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
