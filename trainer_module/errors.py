"""Errors whose message is written for the person who runs the product."""


class RecspanError(Exception):
    """Something the user can mend: the message says where, what was expected and how to go on.

    Attributes:
        verdict: What a run is called that this error stopped because something was refused; empty for other failures.
    """

    verdict = ""


class SetupError(RecspanError):
    """The environment does not fit."""


class ConfigError(RecspanError):
    """An experiment file, an override or a feature spec is wrong."""


class DataError(RecspanError):
    """Input data breaks its format, or a split breaks its promise."""

    verdict = "stopped by bad data"


class ModelError(RecspanError):
    """A trained or exported model does not do what it must."""

    verdict = "stopped by a check of the model"


class Preempted(RecspanError):
    """Training was asked to stop; its state is saved, and the same command goes on from there."""


class Interrupted(Preempted):
    """The same, by Ctrl-C."""
