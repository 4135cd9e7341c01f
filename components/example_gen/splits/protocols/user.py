"""The protocol `user`: a hash of the user decides, so that every user is in one split only."""

from typing import Literal

from components.example_gen.splits.protocol import SeededShares
from components.example_gen.splits.protocols.random import RandomProtocol
from trainer_module.data.tables import InteractionsTable


class UserSplit(SeededShares):
    """A hash of the user decides. Promise: no user is in two splits. Fractions are shares of the users."""

    needs = ("user",)

    by: Literal["user"] = "user"

    def protocol(self, interactions: InteractionsTable) -> RandomProtocol:
        return RandomProtocol(self, "user")


SPLIT = UserSplit
