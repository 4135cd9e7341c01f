"""AdagradMomentum for Keras 2: what TPUs have inside their embedding engine, for everywhere else."""

from typing import Any

import tensorflow as tf


class AdagradMomentum(tf.keras.optimizers.legacy.Optimizer):
    """Adagrad with momentum, by the rule of `tf.tpu.experimental.embedding.AdagradMomentum`.

    With the gradient g of one weight w, its accumulator a and its momentum m, both starting at 0:
        a = a + g^2 if `beta2` is 1, else `beta2` * a + (1 - `beta2`) * g^2
        s = g * (a + `epsilon`)^(-1 / `exponent`)
        m = `momentum` * m + s
        w = w - `learning_rate` * m, or, with `use_nesterov`, w - `learning_rate` * (`momentum` * m + s)

    The rule is that of TensorFlow's operation `XlaSparseDenseMatmulGradWithAdagradMomentumAndCsrInput`. As there, a
    sparse gradient (`tf.IndexedSlices`) touches only the rows that it names: the momentum of all others waits.
    """

    _HAS_AGGREGATE_GRAD = True

    def __init__(
        self,
        learning_rate=0.001,
        momentum: float = 0.0,
        use_nesterov: bool = False,
        exponent: float = 2.0,
        beta2: float = 1.0,
        epsilon: float = 1e-10,
        name: str = "AdagradMomentum",
        **kwargs,
    ):
        """Takes the rule's constants.

        Args:
            learning_rate: A number, a Keras schedule, or a function without arguments.
            momentum: Share of the momentum that is kept per step.
            use_nesterov: Look one step of momentum ahead (Sutskever et al., 2013).
            exponent: Which root of the accumulator divides the gradient; 2 is Adagrad's.
            beta2: Share of the accumulator that is kept per step; 1 keeps all and adds the whole square.
            epsilon: Added to the accumulator.
            name: Prefix of the slots' names.
            **kwargs: `clipnorm`, `clipvalue` and `global_clipnorm`, as Keras optimizers take them.

        Raises:
            ValueError: `epsilon` or `exponent` is not positive; the accumulator starts at 0.
        """
        if epsilon <= 0 or exponent <= 0:
            raise ValueError(f"epsilon and exponent must be positive, got {epsilon} and {exponent}")
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", learning_rate)
        self._set_hyper("decay", self._initial_decay)
        self.momentum = momentum
        self.use_nesterov = use_nesterov
        self.exponent = exponent
        self.beta2 = beta2
        self.epsilon = epsilon

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes an equal optimizer from."""
        return super().get_config() | {
            "learning_rate": self._serialize_hyperparameter("learning_rate"),
            "decay": self._initial_decay,
            "momentum": self.momentum,
            "use_nesterov": self.use_nesterov,
            "exponent": self.exponent,
            "beta2": self.beta2,
            "epsilon": self.epsilon,
        }

    def _create_slots(self, var_list) -> None:
        for variable in var_list:
            self.add_slot(variable, "accumulator")
            self.add_slot(variable, "momentum")

    def _resource_apply_dense(self, grad, var, apply_state=None):
        accumulator, momentum = self.get_slot(var, "accumulator"), self.get_slot(var, "momentum")
        step, new_accumulator, new_momentum = self._step(grad, accumulator.read_value(), momentum.read_value())
        return tf.group(
            accumulator.assign(new_accumulator, use_locking=self._use_locking),
            momentum.assign(new_momentum, use_locking=self._use_locking),
            var.assign_sub(self._rate(var, apply_state) * step, use_locking=self._use_locking),
        )

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        # Keras has added up the rows of repeated indices before.
        accumulator, momentum = self.get_slot(var, "accumulator"), self.get_slot(var, "momentum")
        step, new_accumulator, new_momentum = self._step(
            grad, tf.gather(accumulator, indices), tf.gather(momentum, indices)
        )
        return tf.group(
            accumulator.scatter_update(tf.IndexedSlices(new_accumulator, indices)),
            momentum.scatter_update(tf.IndexedSlices(new_momentum, indices)),
            var.scatter_sub(tf.IndexedSlices(self._rate(var, apply_state) * step, indices)),
        )

    def _step(
        self, gradient: tf.Tensor, accumulator: tf.Tensor, momentum: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What the learning rate multiplies, the new accumulator and the new momentum; all of the gradient's shape."""
        kept, added = (1.0, 1.0) if self.beta2 == 1 else (self.beta2, 1 - self.beta2)
        accumulator = kept * accumulator + added * tf.square(gradient)
        scaled = gradient * tf.pow(accumulator + self.epsilon, -1 / self.exponent)
        momentum = self.momentum * momentum + scaled
        return (self.momentum * momentum + scaled if self.use_nesterov else momentum), accumulator, momentum

    def _rate(self, variable: tf.Variable, apply_state) -> tf.Tensor:
        """The learning rate where `variable` lives, a scalar of its type."""
        device, dtype = variable.device, variable.dtype.base_dtype
        state = (apply_state or {}).get((device, dtype)) or self._fallback_apply_state(device, dtype)
        return state["lr_t"]
