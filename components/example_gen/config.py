"""How data is read and split."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from trainer_module.data.datasets import dataset_spec
from trainer_module.errors import ConfigError
from trainer_module.frozen import Frozen

Protocol = Literal["random", "user", "time", "leave-last-out", "stratified", "u1", "u2", "u3", "u4", "u5"]

_SEEDS_OF_NUMPY = 2**32


class IngestConfig(Frozen):
    """Which dataset is read, and how its rows are split into `train`, `eval` and `test`.

    `test` is what the protocol holds out for the final evaluation; `eval` is taken out of the remaining rows and
    serves model selection.

    Protocols:

    - `random`: a hash of the (user, item) pair decides.
    - `user`: a hash of the user decides, so every user is in one split only.
    - `time`: the last rows in time are `test`, the last ones before them `eval`; equal times stay together.
    - `leave-last-out`: each user's last row is `test`, the one before it `eval`; users with fewer than three rows
      are wholly in `train`.
    - `stratified`: of each user's rows the share `test_fraction`, drawn at random, is `test`; see `splits`.
    - `u1` to `u5`: the official folds of MovieLens 100K; fold k tests on lines 20000(k-1)+1 to 20000k of `u.data`.

    Attributes:
        dataset: Name of a known dataset.
        protocol: One of the above.
        eval_fraction: Share of the rows (for `user`: of the users) outside `test` that become `eval`; has no part in
            `leave-last-out`.
        test_fraction: Share of the rows (for `user`: of the users) that become `test`; has no part in
            `leave-last-out` and `u1` to `u5`. By default .25 for `stratified` and .2 for the others.
        seed: Another seed hashes rows into other splits; has no part in `time` and `leave-last-out`.
        max_bad_rows: So many malformed rows are set aside in a quarantine file; one more fails the run.
        history_length: For retrieval datasets: a row's history is so many items at most, the latest ones.
        neighbours: For datasets with columns `rated` and `raters`: these hold so many tokens at most, drawn at random.
    """

    dataset: str = "movielens-100k"
    protocol: Protocol = "random"
    eval_fraction: float = Field(default=0.05, gt=0, lt=1)
    test_fraction: float = Field(
        default_factory=lambda others: 0.25 if others.get("protocol") == "stratified" else 0.2, gt=0, lt=1
    )
    seed: int = Field(default=0, ge=0, lt=2**63)
    max_bad_rows: int = Field(default=0, ge=0)
    history_length: int = Field(default=50, ge=1)
    neighbours: int = Field(default=100, ge=1)

    @property
    def dataset_key(self) -> str:
        """What `dataset_spec` makes the dataset's spec from."""
        return self.dataset

    @property
    def directory(self) -> Path:
        """Where the raw files lie."""
        return Path("data", dataset_spec(self.dataset).directory)

    @field_validator("dataset")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            dataset_spec(name)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        return name

    @field_validator("seed")
    @classmethod
    def _fits(cls, seed: int, others: ValidationInfo) -> int:
        if others.data.get("protocol") == "stratified" and seed >= _SEEDS_OF_NUMPY:
            raise ValueError("protocol stratified draws with numpy's RandomState; take a seed below 2^32")
        return seed
