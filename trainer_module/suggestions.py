"""Messages for unknown names: the nearest known name."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], always: bool = True) -> str | None:
    """The known name that resembles `name` most, without regard to case.

    Args:
        name: As the user wrote it.
        known: What would be valid.
        always: Whether a name that hardly resembles `name` counts. Take False where `known` is so long that a bad guess
            misleads.

    Returns:
        None if nothing is known, or nothing resembles `name`.
    """
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.0 if always else 0.6)
    return by_lower[near[0]] if near else None


def did_you_mean(name: str, known: Iterable[str], always: bool = True) -> str:
    """`Did you mean NAME? ` with a trailing blank, or nothing; arguments as for `nearest`."""
    near = nearest(name, known, always)
    return f"Did you mean {near}? " if near else ""
