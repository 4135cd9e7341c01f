"""Side-by-side measurements; they call the product and hold no logic of their own."""

# Before any of them imports TensorFlow: this chooses its Keras.
import trainer_module  # noqa: F401
