"""What an experiment decides about the model and its training; the YAML file's other sections are the pipeline's."""

from typing import Literal

from pydantic import Field

from trainer_module.features import Frozen


class OptimizerConfig(Frozen):
    """An optimizer by name.

    Attributes:
        name: One that exists both in Keras 2 and among the TPU embedding optimizers.
        learning_rate: At every step.
    """

    name: Literal["sgd", "adagrad", "adam"]
    learning_rate: float = Field(gt=0)


class RatingModelConfig(Frozen):
    """A model of ratings: factorization of pairwise interactions plus a small MLP.

    Attributes:
        embedding_dim: Width of every table that names no width of its own.
        mlp: Widths of the hidden layers.
        dropout: Fraction of embedding and hidden units dropped in training.
        embedding_l2: Weight of the mean squared norm of the looked-up rows in the loss.
        init_stddev: Standard deviation of a table's initial values.
    """

    type: Literal["rating"] = "rating"
    embedding_dim: int = Field(default=32, ge=1)
    mlp: tuple[int, ...] = (32,)
    dropout: float = Field(default=0.5, ge=0, lt=1)
    embedding_l2: float = Field(default=0.05, ge=0)
    init_stddev: float = Field(default=0.05, gt=0)


class TrainingConfig(Frozen):
    """The training loop.

    Attributes:
        strategy: `auto` takes a TPU where there is one, then GPUs, then the CPU.
        tpu: Name or address of the TPU; empty means the one of this machine.
        batch_size: Examples per step over all replicas.
        eval_batch_size: The same for evaluation.
        epochs: Passes over the training split at most.
        patience: Evaluations without improvement after which training stops.
        dense_optimizer: For everything but the embedding tables.
        embedding_optimizer: For the embedding tables.
        shuffle_rows: Size of the shuffle buffer, in examples.
        cache: Keep the serialized examples in memory after the first pass.
        seed: Of initial weights, shuffling and dropout.
    """

    strategy: Literal["auto", "tpu", "mirrored", "cpu"] = "auto"
    tpu: str = ""
    batch_size: int = Field(default=1024, ge=1)
    eval_batch_size: int = Field(default=8192, ge=1)
    epochs: int = Field(default=40, ge=1)
    patience: int = Field(default=3, ge=1)
    dense_optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=0.001)
    embedding_optimizer: OptimizerConfig = OptimizerConfig(name="adam", learning_rate=0.002)
    shuffle_rows: int = Field(default=100_000, ge=1)
    cache: bool = True
    seed: int = 42


class Experiment(Frozen):
    """All that the Trainer needs to know, beside its input artifacts.

    Attributes:
        dataset: Name of a dataset spec.
        model: The model.
        training: The loop.
    """

    dataset: str
    model: RatingModelConfig = RatingModelConfig()
    training: TrainingConfig = TrainingConfig()
