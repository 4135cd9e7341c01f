"""Adam that updates only the rows that a step looks up, for Keras 2, whose Adam updates all."""

import tensorflow as tf


class LazyAdam(tf.keras.optimizers.legacy.Adam):
    """Adam (Kingma and Ba, 2015) whose moments of a row stay as they are in steps that do not look the row up.

    This is what the embedding engines of TPUs do (`lazy_adam` of `tf.tpu.experimental.embedding.Adam`). A step's cost
    follows the rows that it looks up, and not the size of the table. For dense gradients it is Adam.
    """

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        """Updates distinct rows `indices`, `[rows]`, by gradients `[rows, dim]`."""
        device, dtype = var.device, var.dtype.base_dtype
        state = (apply_state or {}).get((device, dtype)) or self._fallback_apply_state(device, dtype)
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        new_m = state["beta_1_t"] * tf.gather(m, indices) + state["one_minus_beta_1_t"] * grad
        new_v = state["beta_2_t"] * tf.gather(v, indices) + state["one_minus_beta_2_t"] * tf.square(grad)
        # Adam's "lr" holds the correction of the moments' bias towards 0.
        change = state["lr"] * new_m / (tf.sqrt(new_v) + state["epsilon"])
        return tf.group(
            m.scatter_update(tf.IndexedSlices(new_m, indices), use_locking=self._use_locking),
            v.scatter_update(tf.IndexedSlices(new_v, indices), use_locking=self._use_locking),
            var.scatter_sub(tf.IndexedSlices(change, indices), use_locking=self._use_locking),
        )
