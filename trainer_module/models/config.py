"""Which model, and how large, as data. Free of TensorFlow."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from trainer_module.frozen import Frozen


class _ModelConfig(Frozen):
    """What all models take.

    Attributes:
        dropout: Fraction of hidden units dropped in training.
        embedding_l2: Weight of the squared norm of the looked-up rows in the loss.
        ignore: Input columns that the model does not read.
    """

    ignore: tuple[str, ...] = ()
    dropout: float = Field(default=0.0, ge=0, lt=1)
    embedding_l2: float = Field(default=0.0, ge=0)


class RatingModelConfig(_ModelConfig):
    """Factorization of pairwise interactions plus a small MLP.

    Attributes:
        mlp: Widths of the hidden layers; without any it is a factorization machine.
        dropout: Fraction of embedding and hidden units dropped in training.
        biases: `fitted` takes the biases of users and items from the naive baseline, which is fitted in closed form, as
            the last number of their rows, and trains everything else on what they leave unexplained: for sparse data.
            `learned` learns biases with the rest: a little better where users have dozens of ratings.
        table_l2: Weight of the squared norm of whole tables in the loss, as a Gaussian prior of each row gives it
            (Salakhutdinov and Mnih, "Probabilistic Matrix Factorization", 2007): frequent rows are held less than by
            `embedding_l2`. Every step touches every row, so it is for tables of some 100,000 rows at most, off TPUs.
    """

    type: Literal["rating"] = "rating"
    mlp: tuple[int, ...] = (32,)
    biases: Literal["fitted", "learned"] = "fitted"
    dropout: float = Field(default=0.5, ge=0, lt=1)
    embedding_l2: float = Field(default=0.05, ge=0)
    table_l2: float = Field(default=0.0, ge=0)

    @property
    def num_biases(self) -> int:
        """Number of biases at the end of a table's row."""
        return int(self.biases == "fitted")


class DlrmConfig(_ModelConfig):
    """See `trainer_module.models.dlrm`.

    Attributes:
        bottom: Widths of the hidden layers between the numbers and the interaction.
        top: Widths of the hidden layers behind the interaction.
    """

    type: Literal["dlrm"] = "dlrm"
    bottom: tuple[int, ...] = (256, 64)
    top: tuple[int, ...] = (256, 128)


class DcnConfig(_ModelConfig):
    """See `trainer_module.models.dcn`.

    Attributes:
        crosses: Number of cross layers.
        rank: Of their matrices; None is full.
        structure: `stacked` feeds the crosses into the MLP, `parallel` puts both side by side.
        mlp: Widths of the MLP.
    """

    type: Literal["dcn"] = "dcn"
    crosses: int = Field(default=2, ge=1)
    rank: int | None = Field(default=None, ge=1)
    structure: Literal["stacked", "parallel"] = "stacked"
    mlp: tuple[int, ...] = Field(default=(256, 128), min_length=1)


class WideDeepConfig(_ModelConfig):
    """See `trainer_module.models.wide_deep`.

    Attributes:
        mlp: Widths of the deep part's hidden layers.
    """

    type: Literal["wide_deep"] = "wide_deep"
    mlp: tuple[int, ...] = (256, 128)


class TwoTowerConfig(_ModelConfig):
    """See `trainer_module.models.two_tower`; for datasets of interactions.

    Attributes:
        temperature: Divides the dot products of unit vectors: the lower, the more the nearest candidates matter.
        query_mlp: Widths of the query tower's hidden layers; without any, its features' embeddings are added up.
        candidate_mlp: The same for the candidate tower.
        hard_negatives: Only so many of each query's negatives count, the hardest; None takes all.
        mixed_negatives: So many items per example, drawn uniformly from the catalog, are negatives too; see
            `trainer_module.models.negatives`.
        dropout: Fraction of embedding and hidden units dropped in training.
    """

    type: Literal["two_tower"] = "two_tower"
    temperature: float = Field(default=0.2, gt=0)
    query_mlp: tuple[int, ...] = ()
    candidate_mlp: tuple[int, ...] = ()
    hard_negatives: int | None = Field(default=None, ge=1)
    mixed_negatives: int = Field(default=0, ge=0)


def _rating_unless_named(value: Any) -> Any:
    """Without a type, a section is about the default model."""
    return {"type": "rating"} | value if isinstance(value, dict) else value


RankingConfig = RatingModelConfig | DlrmConfig | DcnConfig | WideDeepConfig
ModelConfig = Annotated[
    Annotated[RankingConfig | TwoTowerConfig, Field(discriminator="type")],
    BeforeValidator(_rating_unless_named),
]
