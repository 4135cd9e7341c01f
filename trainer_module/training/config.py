"""The training loop as an experiment describes it. Free of TensorFlow."""

from typing import Literal

from pydantic import Field, model_validator

from trainer_module.frozen import Frozen
from trainer_module.optimizers.config import Adam, DenseOptimizerConfig, TableOptimizerConfig

LAST_BLESSED = "last_blessed"


class WarmStartConfig(Frozen):
    """An earlier training whose weights are the start of this one.

    Attributes:
        checkpoint: Path prefix, as in `.../model_run/7/best/checkpoint`.
        transform_graph: Directory of the transform graph that it was trained with; gives its vocabularies.
    """

    checkpoint: str
    transform_graph: str


class TrainingConfig(Frozen):
    """The training loop.

    Attributes:
        strategy: `auto` takes a TPU where there is one, then the workers of `TF_CONFIG`, then GPUs, then the CPU.
        tpu: Name or address of the TPU; empty means the one of this machine.
        batch_size: Examples per step over all replicas.
        eval_batch_size: The same for evaluation; None is 8192, or `batch_size` on a TPU, whose embedding engine is
            configured for one size.
        epochs: Passes over the training split at most.
        steps: Steps at most, whatever the epochs; None is as many as `epochs` have.
        patience: Evaluations without improvement after which training stops.
        keep: Which weights are exported: those of the `best` evaluation, or of the `last` one, where the metric of the
            evaluations cannot judge; `patience` then has no part.
        evaluate_every: Steps between evaluations; None is an epoch.
        steps_per_loop: Steps in one call to the devices, at most; evaluations end a call early. Logs, signals and
            checkpoints are looked after between calls.
        checkpoint_every: Steps between checkpoints, rounded up to whole calls; None is at each evaluation.
        keep_checkpoints: How many of the latest checkpoints stay.
        async_checkpoints: Write checkpoints while training goes on.
        dense_optimizer: For everything but the embedding tables.
        embedding_optimizer: For the embedding tables that name none of their own.
        clip_norm: Largest global norm of the dense part's gradient; None does not clip.
        precision: Of the dense part's arithmetic; `auto` is bfloat16 on TPUs and float32 elsewhere. Embedding rows,
            weights and the loss stay float32.
        jit_compile: Compile the dense part with XLA on CPUs and GPUs (a TPU always does).
        cache: `features` keeps the transformed split in memory, or in files if it exceeds the budget, and shuffles all
            of it; `records` keeps the raw columns in memory; `none` reads the files in every epoch.
        shuffle_rows: Unless `cache` is `features`, so many consecutive examples are shuffled among each other; 0 does
            not shuffle.
        profile_steps: First and last step of a TensorBoard profile, rounded to whole calls.
        warm_start: Start from the weights of an earlier training, by token: a named one, or `last_blessed`, that of the
            pipeline's last blessed model, if there is one; see `docs/warm_start.md`.
        seed: Of initial weights, shuffling and dropout.
    """

    strategy: Literal["auto", "tpu", "multi_worker", "mirrored", "cpu"] = "auto"
    tpu: str = ""
    batch_size: int = Field(default=1024, ge=1)
    eval_batch_size: int | None = Field(default=None, ge=1)
    epochs: int = Field(default=40, ge=1)
    steps: int | None = Field(default=None, ge=1)
    patience: int = Field(default=6, ge=1)
    keep: Literal["best", "last"] = "best"
    evaluate_every: int | None = Field(default=None, ge=1)
    steps_per_loop: int = Field(default=500, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    async_checkpoints: bool = False
    dense_optimizer: DenseOptimizerConfig = Adam(learning_rate=0.001)
    embedding_optimizer: TableOptimizerConfig = Adam(learning_rate=0.002)
    clip_norm: float | None = Field(default=None, gt=0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    jit_compile: bool = False
    cache: Literal["features", "records", "none"] = "features"
    shuffle_rows: int = Field(default=100_000, ge=0)
    profile_steps: tuple[int, int] | None = None
    warm_start: WarmStartConfig | Literal["last_blessed"] | None = None
    seed: int = Field(default=42, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _check(self) -> "TrainingConfig":
        if self.profile_steps and not 1 <= self.profile_steps[0] <= self.profile_steps[1]:
            raise ValueError(
                f"training.profile_steps: {list(self.profile_steps)} is no range of steps; the smaller number comes "
                "first, and steps count from 1"
            )
        if self.profile_steps and self.steps and self.profile_steps[0] > self.steps:
            raise ValueError(
                f"training.profile_steps: {list(self.profile_steps)} begins after training.steps={self.steps}; choose "
                "earlier steps"
            )
        if self.tpu and self.strategy not in ("auto", "tpu"):
            raise ValueError(
                f"training.tpu names the TPU {self.tpu!r}, but training.strategy is {self.strategy}; take auto or tpu, "
                "or leave training.tpu out"
            )
        if self.strategy == "tpu" and self.eval_batch_size not in (None, self.batch_size):
            raise ValueError(
                f"training.eval_batch_size={self.eval_batch_size}, but a TPU's embedding engine takes one batch size; "
                f"leave it out, or set it to training.batch_size={self.batch_size}"
            )
        return self
