"""What only people know about a model: its card, in the experiment file."""

from pydantic import Field

from trainer_module.frozen import Frozen

_LONGEST = 4000


class ModelCard(Frozen):
    """What the run report says about the model beyond what was measured (Mitchell et al., "Model cards", FAT* 2019).

    Attributes:
        intended_use: For whom and for what the model is.
        out_of_scope: What it must not be used for.
        data: Where the data come from, and under which terms.
        limits: What it does badly, or was not tried on.
        contact: Who answers questions.
    """

    intended_use: str = Field(default="", max_length=_LONGEST)
    out_of_scope: str = Field(default="", max_length=_LONGEST)
    data: str = Field(default="", max_length=_LONGEST)
    limits: str = Field(default="", max_length=_LONGEST)
    contact: str = Field(default="", max_length=_LONGEST)
