"""The protocol `user`: a hash of the user decides, so that every user is in one split only."""

from components.example_gen.splits.config import UserSplit
from components.example_gen.splits.random import RandomProtocol


def user_protocol(config: UserSplit) -> RandomProtocol:
    """`random` by the user: fractions are shares of the users. Promise: no user is in two splits."""
    return RandomProtocol(config, "user")
