"""Optimizers and learning rates as data. Free of TensorFlow.

Embedding tables take the rules that exist both in Keras 2 and inside a TPU's embedding engine, since a model must train
by the same rule wherever it runs; arguments that only one side knows are refused with the reason. The dense part takes
these and more. One class per optimizer; `trainer_module.optimizers.keras.RULES` holds its implementations.
"""

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainer_module.frozen import Frozen
from trainer_module.suggestions import did_you_mean

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


class WarmupDecay(Frozen):
    """Rises linearly to `peak`, stays or falls after.

    With s = `step - warmup_steps` and u = `min(1, s / decay_steps)`, the rate after the warm-up is, for each shape:
        constant: `peak`.
        linear: `floor + (peak - floor) * (1 - u)`.
        cosine: `floor + (peak - floor) * (1 + cos(pi * u)) / 2` (Loshchilov and Hutter, "SGDR", 2017).
        inverse_sqrt: `max(floor, peak / sqrt(1 + s / decay_steps))`.

    Attributes:
        peak: The highest rate.
        warmup_steps: The rate at step t below it is `peak * (t + 1) / warmup_steps`.
        shape: How it falls.
        decay_steps: Length of the fall, in steps.
        floor: Where the fall ends.
    """

    peak: Positive
    warmup_steps: int = Field(default=0, ge=0)
    shape: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "constant"
    decay_steps: int = Field(default=1, ge=1)
    floor: NotNegative = 0.0

    @model_validator(mode="after")
    def _falls(self) -> "WarmupDecay":
        if self.floor > self.peak:
            raise ValueError(f"floor {self.floor:g} lies above peak {self.peak:g}; the larger number is the peak")
        return self


class RateFunction(Frozen):
    """A learning rate computed by a function of one's own.

    Attributes:
        function: As in `my_package.my_module.my_function`; it gets the step, an int64 scalar tensor, and returns a
            float32 scalar tensor. It is traced once, so that the rate must be computed by TensorFlow operations. The
            experiment's key `modules` must list its module.
    """

    function: str = Field(pattern=r"^\w+(\.\w+)+$")

    @property
    def module(self) -> str:
        """The module that holds the function."""
        return self.function.rpartition(".")[0]


LearningRate = Positive | WarmupDecay | RateFunction


def check_modules(modules: Iterable[str]) -> None:
    """Checks that modules are ones of the user's own, by name alone.

    Raises:
        ValueError: One is a module of Python's standard library.
    """
    for module in modules:
        if module.split(".")[0] in sys.stdlib_module_names:
            raise ValueError(
                f"modules: {module} belongs to Python's standard library, whose functions are no learning rates; list "
                "modules of your own, as in my_package.rates"
            )


def check_function(rate: LearningRate, modules: Collection[str], where: str) -> None:
    """Checks that an experiment may call the function of a learning rate; does not import it.

    Args:
        rate: The learning rate.
        modules: That the experiment lists.
        where: Key of the optimizer, for the message.

    Raises:
        ValueError: The function's module is not listed.
    """
    if isinstance(rate, RateFunction) and rate.module not in modules:
        raise ValueError(
            f"{where}.learning_rate.function: {rate.function} would be imported and called, and the key modules does "
            f"not list {rate.module}. If you trust that module, add modules: [{rate.module}] to the experiment"
        )


class _Optimizer(Frozen):
    """The base of all optimizers.

    Attributes:
        slots: Optimizer slots, by the names that TPUs give them; each is as large as its variable.
        refused: Arguments that are not supported, and why.
        learning_rate: Constant, a schedule, or a function of the step.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    refused: ClassVar[Mapping[str, str]] = {}

    learning_rate: LearningRate

    @model_validator(mode="before")
    @classmethod
    def _explain_refused(cls, values: Any) -> Any:
        for argument, reason in cls.refused.items():
            if isinstance(values, dict) and argument in values:
                raise ValueError(f"{argument} is not supported: {reason}")
        return values

    @property
    def arguments(self) -> dict[str, float | bool]:
        """All but name and learning rate, as Keras and TPUs call them."""
        return self.model_dump(exclude={"name", "learning_rate"})


class Sgd(_Optimizer):
    """Stochastic gradient descent."""

    refused: ClassVar[Mapping[str, str]] = {
        "momentum": "the TPU's SGD has none; adagrad_momentum does, and the dense part takes sgd_momentum",
        "nesterov": "the TPU's SGD has no momentum; adagrad_momentum and, for the dense part, sgd_momentum have it",
        "decay": "give learning_rate a schedule",
    }

    name: Literal["sgd"] = "sgd"


class Adagrad(_Optimizer):
    """Adagrad (Duchi et al., 2011).

    Attributes:
        initial_accumulator_value: Sum of squared gradients at the start; a larger one damps the first steps.
    """

    slots: ClassVar[tuple[str, ...]] = ("accumulators",)
    refused: ClassVar[Mapping[str, str]] = {
        "epsilon": "the TPU's Adagrad has none; a larger initial_accumulator_value damps the first steps",
        "decay": "give learning_rate a schedule",
    }

    name: Literal["adagrad"] = "adagrad"
    initial_accumulator_value: Positive = 0.1


class AdagradMomentum(_Optimizer):
    """Adagrad, or RMSProp with `beta2` below 1, with momentum; Keras has no counterpart, so the product brings one.

    Attributes:
        momentum: Share of the momentum that is kept per step.
        use_nesterov: Look one step of momentum ahead.
        exponent: The gradient is divided by the accumulator to the power of one over this.
        beta2: Share of the accumulator that is kept per step; 1 adds squares up, as Adagrad does.
        epsilon: Added to the accumulator.
    """

    slots: ClassVar[tuple[str, ...]] = ("accumulators", "momenta")

    name: Literal["adagrad_momentum"] = "adagrad_momentum"
    momentum: Fraction = 0.0
    use_nesterov: bool = False
    exponent: Positive = 2.0
    beta2: float = Field(default=1.0, gt=0, le=1)
    epsilon: Positive = 1e-10


class Adam(_Optimizer):
    """Adam (Kingma and Ba, 2015).

    Attributes:
        beta_1: Share of the gradients' mean that is kept per step.
        beta_2: Share of the squares' mean that is kept per step.
        epsilon: Added to the root that divides.
    """

    slots: ClassVar[tuple[str, ...]] = ("momenta", "velocities")
    refused: ClassVar[Mapping[str, str]] = {
        "amsgrad": "the TPU's Adam has no such variant",
        "decay": "give learning_rate a schedule",
    }

    name: Literal["adam"] = "adam"
    beta_1: Fraction = 0.9
    beta_2: Fraction = 0.999
    epsilon: Positive = 1e-7


class LazyAdam(Adam):
    """Adam that changes only the rows that a step looks up, as the embedding engines of TPUs do.

    A step's cost then follows those rows and not the size of the table.
    """

    name: Literal["lazy_adam"] = "lazy_adam"  # pyright: ignore[reportIncompatibleVariableOverride] (the tag of the union)


class Ftrl(_Optimizer):
    """Follow the regularized leader (McMahan et al., 2013).

    Attributes:
        learning_rate_power: Exponent by which rates fall with the accumulator; 0 keeps them.
        initial_accumulator_value: Sum of squared gradients at the start.
        l1_regularization_strength: Weight of the absolute values in the loss; makes rows sparse.
        l2_regularization_strength: Weight of the squares in the loss.
        beta: Added to the accumulator's root.
    """

    slots: ClassVar[tuple[str, ...]] = ("accumulators", "linears")
    refused: ClassVar[Mapping[str, str]] = {
        "l2_shrinkage_regularization_strength": "the TPU's FTRL has none; l2_regularization_strength is its penalty",
    }

    name: Literal["ftrl"] = "ftrl"
    learning_rate_power: float = Field(default=-0.5, le=0)
    initial_accumulator_value: NotNegative = 0.1
    l1_regularization_strength: NotNegative = 0.0
    l2_regularization_strength: NotNegative = 0.0
    beta: NotNegative = 0.0


class SgdMomentum(_Optimizer):
    """Stochastic gradient descent with momentum; for the dense part.

    Attributes:
        momentum: Share of the momentum that is kept per step.
        nesterov: Look one step of momentum ahead (Sutskever et al., 2013).
    """

    slots: ClassVar[tuple[str, ...]] = ("momenta",)

    name: Literal["sgd_momentum"] = "sgd_momentum"
    momentum: float = Field(default=0.9, gt=0, lt=1)
    nesterov: bool = False


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019); for the dense part.

    Attributes:
        weight_decay: Every step takes `learning_rate * weight_decay * w` off every weight w but biases.
        beta_1: Share of the gradients' mean that is kept per step.
        beta_2: Share of the squares' mean that is kept per step.
        epsilon: Added to the root that divides.
    """

    slots: ClassVar[tuple[str, ...]] = ("momenta", "velocities")

    name: Literal["adamw"] = "adamw"
    weight_decay: NotNegative = 0.01
    beta_1: Fraction = 0.9
    beta_2: Fraction = 0.999
    epsilon: Positive = 1e-7


EMBEDDING_OPTIMIZERS: Mapping[str, type[_Optimizer]] = {
    optimizer.model_fields["name"].default: optimizer
    for optimizer in (Sgd, Adagrad, AdagradMomentum, Adam, LazyAdam, Ftrl)
}
DENSE_OPTIMIZERS: Mapping[str, type[_Optimizer]] = EMBEDDING_OPTIMIZERS | {
    optimizer.model_fields["name"].default: optimizer for optimizer in (SgdMomentum, AdamW)
}


def _known_for_tables(value: Any) -> Any:
    name = _name_of(value)
    if name in DENSE_OPTIMIZERS and name not in EMBEDDING_OPTIMIZERS:
        raise ValueError(
            f"{name} is for training.dense_optimizer alone, since the embedding engine of a TPU has no such rule; "
            f"embedding tables take {', '.join(EMBEDDING_OPTIMIZERS)}"
        )
    return _known(value, EMBEDDING_OPTIMIZERS)


def _known_for_dense(value: Any) -> Any:
    return _known(value, DENSE_OPTIMIZERS)


def _known(value: Any, known: Mapping[str, type[_Optimizer]]) -> Any:
    name = _name_of(value)
    if name is not None and name not in known:
        raise ValueError(
            f"no optimizer is called {name}. {did_you_mean(name, known, always=False)}Known: {', '.join(known)}"
        )
    return value


def _name_of(value: Any) -> str | None:
    """The name in a section; None where there is none, which pydantic reports."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    return name if isinstance(name, str) else None


TableOptimizerConfig = Annotated[
    Annotated[Sgd | Adagrad | AdagradMomentum | Adam | LazyAdam | Ftrl, Field(discriminator="name")],
    BeforeValidator(_known_for_tables),
]
DenseOptimizerConfig = Annotated[
    Annotated[
        Sgd | Adagrad | AdagradMomentum | Adam | LazyAdam | Ftrl | SgdMomentum | AdamW, Field(discriminator="name")
    ],
    BeforeValidator(_known_for_dense),
]
