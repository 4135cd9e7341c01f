"""AdamW for Keras 2, whose legacy optimizers have none."""

from typing import Any

import tensorflow as tf


class AdamW(tf.keras.optimizers.legacy.Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019).

    A step first takes `learning_rate * weight_decay * w` off a weight w, then does what Adam does. Variables of rank 1,
    which are biases, are not decayed: the bias of an output holds the mean of what is predicted. For dense gradients.
    """

    def __init__(self, learning_rate=0.001, weight_decay: float = 0.01, name: str = "AdamW", **kwargs):
        """Takes the rule's constants.

        Args:
            learning_rate: A number, a Keras schedule, or a function without arguments.
            weight_decay: Share of a weight that a step at rate 1 takes off.
            name: Prefix of the slots' names.
            **kwargs: Adam's own arguments.
        """
        super().__init__(learning_rate, name=name, **kwargs)
        self.weight_decay = weight_decay

    def get_config(self) -> dict[str, Any]:
        """What `from_config` makes an equal optimizer from."""
        return super().get_config() | {"weight_decay": self.weight_decay}

    def _resource_apply_dense(self, grad, var, apply_state=None):
        if var.shape.rank < 2:
            return super()._resource_apply_dense(grad, var, apply_state)
        device, dtype = var.device, var.dtype.base_dtype
        # Not Adam's "lr", which holds the correction of its bias.
        state = (apply_state or {}).get((device, dtype)) or self._fallback_apply_state(device, dtype)
        decayed = var.assign_sub(state["lr_t"] * self.weight_decay * var, use_locking=self._use_locking)
        with tf.control_dependencies([decayed]):
            return super()._resource_apply_dense(grad, var, apply_state)

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        raise NotImplementedError("AdamW decays whole variables; embedding tables take another optimizer")
