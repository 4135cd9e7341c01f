"""Converts columns as files hold them to the types of the pipeline.

Every conversion takes an Arrow column of any ordinary type. A value that does not fit is a problem of its row and null
in the result; a column whose type cannot fit is a `DataError`.
"""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.readers.plain_arrays import is_list, is_text, null_where, plain, trimmed_text
from components.example_gen.readers.problems import Problems, shown
from components.example_gen.readers.times import times
from trainer_module.data.cells import trim
from trainer_module.errors import DataError

__all__ = ["Problems", "numbers", "times", "token_lists", "tokens", "words"]

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# Letters and digits of any script; an apostrophe between them does not part a word.
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
# Whole numbers below these are exact in a float of so many bits.
_EXACT_BELOW = {16: 2**11, 32: 2**24, 64: 2**53}


def tokens(values: pa.Array, name: str, problems: Problems, missing: Sequence[str] = ()) -> pa.Array:
    """Tokens that are the same whatever type a file stores them in.

    The integer 7, the float 7.0 and the text `7` are one token; `007` is another one. Spaces around texts are dropped.
    Booleans become `true` and `false`, decimals lose zeros at their end, dates and timestamps are written as ISO 8601
    has them.

    Args:
        values: `[rows]` of any type but lists.
        name: Of the column, for messages.
        problems: Gets floats that are no whole numbers, or too large for their type to tell neighbours apart, and
            bytes that are not UTF-8.
        missing: Texts that stand for a missing value, beside the empty one.

    Returns:
        `[rows]` large_binary; missing values are null.

    Raises:
        DataError: The column holds lists.
    """
    values = plain(values)
    _check_no_lists(values, name, problems)
    if pa.types.is_floating(values.type):
        text = _text_of_floats(values, name, problems)
    elif pa.types.is_decimal(values.type):
        text = _text_of_decimals(values)
    else:
        text = trimmed_text(values, name, problems)
    absent = pa.array(["", *map(trim, missing)], pa.large_string())
    return null_where(pc.is_in(text, absent), text).cast(pa.large_binary())


def token_lists(values: pa.Array, separator: str | None, name: str, problems: Problems) -> pa.Array:
    """Lists of tokens; see `tokens`.

    Args:
        values: `[rows]` of lists, or of single values.
        separator: Splits texts that are no lists; None makes each a list of one token.
        name: Of the column, for messages.
        problems: See `tokens`.

    Returns:
        `[rows]` large lists of large_binary, never null, without empty tokens.

    Raises:
        DataError: The column holds lists of lists.
    """
    values = plain(values)
    if not is_list(values.type):
        if separator is None:
            values = pa.LargeListArray.from_arrays(pa.array(np.arange(len(values) + 1)), values)
        else:
            values = pc.split_pattern(trimmed_text(values, name, problems), separator)
    lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    flat, parents = values.flatten(), np.repeat(np.arange(len(values)), lengths)
    of_elements = Problems(problems.file, len(flat))
    found = tokens(flat, name, of_elements)
    of_parents = {int(parents[element]): problem for element, problem in reversed(of_elements.of_row.items())}
    wrong = np.zeros(len(values), bool)
    wrong[list(of_parents)] = True
    problems.add(wrong, of_parents.__getitem__)
    kept = found.is_valid().to_numpy(zero_copy_only=False)
    return _lists(found.drop_null(), np.bincount(parents[kept], minlength=len(values)))


def numbers(values: pa.Array, name: str, problems: Problems) -> pa.Array:
    """Numbers.

    Args:
        values: `[rows]` numbers, booleans (1 and 0), decimals, or texts of decimal numbers with or without an exponent;
            spaces around texts are dropped.
        name: Of the column, for messages.
        problems: Gets other texts, also `nan`, `inf` and hexadecimal ones, and numbers beyond the range of float32.

    Returns:
        `[rows]` float64; missing values (null, NaN, empty texts) are null.

    Raises:
        DataError: The column holds lists, dates or times.
    """
    values = plain(values)
    _check_no_lists(values, name, problems)
    if pa.types.is_temporal(values.type):
        raise DataError(
            f"{problems.file}: column {name!r} is of type {values.type}; expected numbers. Use it as time, or store it "
            "as a number"
        )
    if is_text(values.type):
        text = trimmed_text(values, name, problems)
        found, fits = _parsed(null_where(pc.equal(text, ""), text))
        wrong = ~fits
    else:
        found = values.cast(pa.float64(), safe=False)
        found = pc.if_else(pc.is_nan(found), None, found)
        wrong = np.zeros(len(values), bool)
    problems.add(
        wrong, lambda row: f"column {name!r}: expected a number, found {shown(values[row])}{_hint(values[row])}"
    )
    too_large = pc.fill_null(pc.greater(pc.abs(found), float(np.finfo(np.float32).max)), False)
    problems.add(
        too_large.to_numpy(zero_copy_only=False),
        lambda row: (
            f"column {name!r}: expected a number within the range of float32 (3.4e38), found {shown(values[row])}"
        ),
    )
    return null_where(too_large, found)


def _parsed(text: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """Parses texts of decimal numbers.

    Args:
        text: `[rows]` large_string; null where a value is missing.

    Returns:
        `[rows]` float64, null where a text is no number, and whether each one is, bool `[rows]`.
    """
    # Of the texts that `_NUMBER` refuses, Arrow parses nan and inf alone. Matching takes longer than parsing.
    try:
        found = text.cast(pa.float64())
    except pa.ArrowInvalid:
        found = None
    if found is not None and pc.all(pc.is_finite(found)).as_py() is not False:
        return found, np.ones(len(text), bool)
    fits = pc.fill_null(pc.match_substring_regex(text, _NUMBER), True)
    return pc.if_else(fits, text, None).cast(pa.float64()), fits.to_numpy(zero_copy_only=False)


def _hint(found: pa.Scalar) -> str:
    """How a text that often stands for a missing value is made one."""
    word = shown(found).strip("'").strip().lower()
    if word in ("nan", "na", "n/a", "null", "none", "nil", "-", "?"):
        return f". If it stands for a missing value, set missing_values: ['', {shown(found)}] for the table"
    return ""


def words(values: pa.Array) -> pa.Array:
    """The words of texts in lower case: runs of letters and digits of any script, with apostrophes inside.

    Args:
        values: `[rows]` of any type but lists.

    Returns:
        `[rows]` large lists of large_binary, never null; a word that a text repeats is listed again.
    """
    values = plain(values)
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), None, values)
    if not is_text(values.type):
        values = values.cast(pa.large_string())
    # Titles and descriptions repeat over rows; each distinct one is split once.
    distinct = values.cast(pa.large_binary()).dictionary_encode()
    split = [_WORD.findall(text.decode("utf-8", "replace").lower()) for text in distinct.dictionary.to_pylist()]
    per_text = pa.array(split, pa.large_list(pa.large_string())).cast(pa.large_list(pa.large_binary()))
    found = per_text.take(distinct.indices)
    return _lists(found.flatten(), pc.fill_null(pc.list_value_length(found), 0).to_numpy(zero_copy_only=False))


def _check_no_lists(values: pa.Array, name: str, problems: Problems) -> None:
    if is_list(values.type):
        raise DataError(
            f"{problems.file}: column {name!r} holds lists ({values.type}); expected one value per row. If they are "
            "lists of tokens, say multivalent: true for the column"
        )


def _text_of_floats(values: pa.Array, name: str, problems: Problems) -> pa.Array:
    """Whole numbers without a decimal point; NaN becomes null."""
    limit = _EXACT_BELOW[values.type.bit_width]
    found = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    is_missing = np.isnan(found)
    with np.errstate(invalid="ignore"):
        fits = (np.abs(found) < limit) & (np.trunc(found) == found)
    problems.add(
        ~fits & ~is_missing,
        lambda row: (
            f"column {name!r}: expected a token, found the float {float(found[row])!r}; only whole numbers below "
            f"{limit:,} are exact as floats of {values.type.bit_width} bits. Store the column as text or as integers"
        ),
    )
    whole = np.where(fits, found, 0).astype(np.int64)
    return pa.array(whole, mask=~fits).cast(pa.large_string())


def _text_of_decimals(values: pa.Array) -> pa.Array:
    """Decimals without an exponent and without zeros at their end."""
    distinct = values.dictionary_encode()
    text = [f"{value:f}" for value in distinct.dictionary.to_pylist()]
    stripped = [each.rstrip("0").rstrip(".") if "." in each else each for each in text]
    return pa.array(stripped, pa.large_string()).take(distinct.indices)


def _lists(flat: pa.Array, lengths: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), flat)
