"""Errors whose message is written for the person who runs the product."""


class RecspanError(Exception):
    """Something the user can mend: the message says where, what was expected and how to go on."""


class SetupError(RecspanError):
    """The environment does not fit."""


class ConfigError(RecspanError):
    """An experiment file, an override or a feature spec is wrong."""


class DataError(RecspanError):
    """Input data breaks its format, or a split breaks its promise."""


class ModelError(RecspanError):
    """A trained or exported model does not do what it must."""


class Preempted(RecspanError):
    """Training was asked to stop; its state is saved, and the same command goes on from there."""


class Interrupted(Preempted):
    """The same, by Ctrl-C."""
