"""Converts columns of times to microseconds since 1970-01-01 UTC."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.example_gen.readers.plain_arrays import is_number, is_text, plain, trimmed_text
from components.example_gen.readers.problems import Problems, shown
from trainer_module.data.tables import TimeUnit
from trainer_module.errors import DataError

# Digits that fit int64.
_WHOLE = r"^[+-]?([0-9]{1,18}|[0-8][0-9]{18})$"
_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_ISO = (
    r"^(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    r"(?:[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]{1,18}))?)?"
    r" ?(?:[Zz]|UTC|(?P<sign>[+-])(?P<zone_hour>[0-9]{2})(?::?(?P<zone_minute>[0-9]{2}))?)?)?$"
)
_UNITS: tuple[TimeUnit, ...] = ("s", "ms", "us", "ns")
# What a column may be taken for.
GUESSES: tuple[TimeUnit, ...] = (*_UNITS, "iso")
_UNIT_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
# Numbers below these are of the unit with the same index.
_MAGNITUDES = (1e11, 1e14, 1e17)
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_MICROSECONDS = 1_000_000
# Years 1 to 9999, so that every time can be written as a date.
_FIRST, _LAST = -62_135_596_800 * _MICROSECONDS, 253_402_300_800 * _MICROSECONDS


def times(values: pa.Array, unit: TimeUnit, name: str, problems: Problems, is_guess: bool = False) -> pa.Array:
    """Times as microseconds since 1970-01-01 UTC.

    Times without a zone count as UTC. Digits beyond microseconds are cut off.

    Args:
        values: `[rows]` timestamps or dates, numbers, or texts of numbers or of ISO 8601 (`2024-05-01`,
            `2024-05-01T10:00:00Z`, `2024-05-01 10:00:00.5+02:00`).
        unit: One of `GUESSES`; timestamps and dates ignore it.
        name: Of the column, for messages.
        problems: Gets texts of another form, dates that no calendar has, times outside the years 1 to 9999, and, if the
            unit is a guess, numbers whose magnitude suggests another.
        is_guess: Whether the unit was chosen by the first values of the column.

    Returns:
        `[rows]` int64; missing values (null, NaN, empty texts) are null.

    Raises:
        DataError: The column holds lists, booleans, or times without a date; or numbers, and `unit` is `iso`.
    """
    values = plain(values)
    if pa.types.is_timestamp(values.type):
        return _from_integers(values.cast(pa.int64()), values.type.unit, values, name, problems)
    if pa.types.is_date32(values.type):
        seconds = pc.multiply(values.cast(pa.int32()).cast(pa.int64()), 86_400)
        return _from_integers(seconds, "s", values, name, problems)
    if pa.types.is_date64(values.type):
        return _from_integers(values.cast(pa.int64()), "ms", values, name, problems)
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), pa.int64())
    if is_text(values.type):
        return _from_text(values, unit, name, problems, is_guess)
    if not is_number(values.type) or unit == "iso":
        expected = "ISO 8601 texts, as its unit says" if unit == "iso" else "timestamps, numbers or ISO 8601 texts"
        raise DataError(f"{problems.file}: column {name!r} is of type {values.type}; expected {expected}")
    return _from_numbers(values, unit, values, name, problems, is_guess)


def suggested_units(values: pa.Array) -> np.ndarray:
    """What the values of a column suggest as its unit: index into `GUESSES` of each value, in their order.

    Missing values are left out, and so is 0, which is the same moment in every unit. Timestamps and dates suggest none.
    """
    values = plain(values)
    if is_text(values.type):
        text = trimmed_text(values, "", Problems("", len(values)))
        text = text.filter(pc.fill_null(pc.not_equal(text, ""), False))
        looks_numeric = pc.match_substring_regex(text, _NUMBER)
        numbers = pc.if_else(looks_numeric, text, None).cast(pa.float64())
    elif is_number(values.type):
        numbers = values.cast(pa.float64(), safe=False).drop_null()
        numbers = numbers.filter(pc.invert(pc.is_nan(numbers)))
    else:
        return np.zeros(0, np.int64)
    found = numbers.fill_null(np.nan).to_numpy(zero_copy_only=False)
    return np.where(np.isnan(found), GUESSES.index("iso"), _magnitudes(found))[found != 0]


def _magnitudes(found: np.ndarray) -> np.ndarray:
    """Index into `_UNITS` that each number's magnitude suggests."""
    return np.digitize(np.abs(found), _MAGNITUDES)


def _from_text(values: pa.Array, unit: TimeUnit, name: str, problems: Problems, is_guess: bool) -> pa.Array:
    text = trimmed_text(values, name, problems)
    text = pc.if_else(pc.equal(text, ""), None, text)
    if unit == "iso":
        return _from_iso(text, values, name, problems)
    looks_numeric = pc.fill_null(pc.match_substring_regex(text, _NUMBER), False)
    found = _from_numbers(pc.if_else(looks_numeric, text, None), unit, values, name, problems, is_guess)
    problems.add(
        pc.if_else(looks_numeric, None, text).is_valid().to_numpy(zero_copy_only=False),
        lambda row: (
            f"column {name!r}: expected a time in {_UNIT_NAMES[unit]} since 1970"
            f"{', like the first values of the column' if is_guess else ''}, found {shown(values[row])}"
        ),
    )
    return found


def _from_numbers(
    numbers: pa.Array, unit: TimeUnit, values: pa.Array, name: str, problems: Problems, is_guess: bool
) -> pa.Array:
    """Converts numbers or texts of numbers.

    Args:
        numbers: `[rows]`.
        unit: Of the numbers.
        values: The column as the file holds it, for messages.
        name: Of the column.
        problems: See `times`.
        is_guess: See `times`.
    """
    approximate = numbers.cast(pa.float64(), safe=False)
    approximate = pc.if_else(pc.is_nan(approximate), None, approximate)
    if is_guess:
        found = approximate.fill_null(0).to_numpy(zero_copy_only=False)
        magnitudes = _magnitudes(found)
        problems.add(
            (found != 0) & (magnitudes != _UNITS.index(unit)),
            lambda row: (
                f"column {name!r}: {shown(values[row])} looks like a time in {_UNIT_NAMES[_UNITS[magnitudes[row]]]}, "
                f"and the first values of the column look like {_UNIT_NAMES[unit]}; expected one unit. If all are of "
                f"one unit, name it, as in time: {{name: {name}, unit: {unit}}}"
            ),
        )
    whole = _exact_integers(numbers)
    exact = _from_integers(whole, unit, values, name, problems)
    fractional = pc.if_else(whole.is_valid(), None, approximate)
    return (
        exact
        if fractional.null_count == len(fractional)
        else pc.coalesce(exact, _from_floats(fractional, unit, values, name, problems))
    )


def _exact_integers(numbers: pa.Array) -> pa.Array:
    """Those numbers that are written as integers and fit int64; others are null."""
    if is_text(numbers.type):
        is_whole = pc.fill_null(pc.match_substring_regex(numbers, _WHOLE), False)
        return pc.utf8_ltrim(pc.if_else(is_whole, numbers, None), "+").cast(pa.int64())
    if pa.types.is_integer(numbers.type):
        if numbers.type == pa.uint64():
            numbers = pc.if_else(pc.less_equal(numbers, pa.scalar(2**63 - 1, pa.uint64())), numbers, None)
        return numbers.cast(pa.int64())
    return pa.nulls(len(numbers), pa.int64())


def _from_integers(whole: pa.Array, unit: str, values: pa.Array, name: str, problems: Problems) -> pa.Array:
    found = whole.fill_null(0).to_numpy(zero_copy_only=False)
    per_second = _PER_SECOND[unit]
    fits = (found >= _FIRST // _MICROSECONDS * per_second) & (found < _LAST // _MICROSECONDS * per_second)
    _add_out_of_range(~fits, values, name, problems)
    found = np.where(fits, found, 0)
    if per_second > _MICROSECONDS:
        found = found // (per_second // _MICROSECONDS)
    else:
        found = found * (_MICROSECONDS // per_second)
    return pa.array(found, mask=~fits | whole.is_null().to_numpy(zero_copy_only=False))


def _from_floats(fractional: pa.Array, unit: str, values: pa.Array, name: str, problems: Problems) -> pa.Array:
    found = fractional.fill_null(0).to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        found = np.round(found * (_MICROSECONDS / _PER_SECOND[unit]))
    fits = (found >= _FIRST) & (found < _LAST)
    _add_out_of_range(~fits, values, name, problems)
    present = fits & fractional.is_valid().to_numpy(zero_copy_only=False)
    return pa.array(np.where(present, found, 0).astype(np.int64), mask=~present)


def _from_iso(text: pa.Array, values: pa.Array, name: str, problems: Problems) -> pa.Array:
    parts = pc.extract_regex(text, _ISO)
    matches = parts.is_valid().to_numpy(zero_copy_only=False)

    def part(key: str) -> pa.Array:
        return pc.fill_null(pc.struct_field(parts, key), "")

    def number(key: str) -> np.ndarray:
        digits = part(key)
        return pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.int64()).to_numpy(zero_copy_only=False)

    year, month, day = number("year"), number("month"), number("day")
    months = (year - 1970) * 12 + month - 1
    first_day, next_first_day = (
        (months + more).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64) for more in (0, 1)
    )
    hour, minute, second = number("hour"), number("minute"), number("second")
    zone_hour, zone_minute = number("zone_hour"), number("zone_minute")
    fits = matches & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= next_first_day - first_day)
    fits &= (hour <= 23) & (minute <= 59) & (second <= 59) & (zone_hour <= 23) & (zone_minute <= 59)
    problems.add(
        ~fits & text.is_valid().to_numpy(zero_copy_only=False),
        lambda row: (
            f"column {name!r}: expected a time of ISO 8601 such as 2024-05-01T10:00:00Z, found {shown(values[row])}"
        ),
    )
    fraction = pc.utf8_slice_codeunits(pc.utf8_rpad(part("fraction"), 6, "0"), 0, 6).cast(pa.int64())
    is_west = pc.equal(part("sign"), "-").to_numpy(zero_copy_only=False)
    offset = np.where(is_west, -1, 1) * (zone_hour * 3600 + zone_minute * 60)
    seconds = (first_day + day - 1) * 86_400 + hour * 3600 + minute * 60 + second - offset
    found = seconds * _MICROSECONDS + fraction.to_numpy(zero_copy_only=False)
    return pa.array(np.where(fits, found, 0), mask=~fits)


def _add_out_of_range(wrong: np.ndarray, values: pa.Array, name: str, problems: Problems) -> None:
    problems.add(
        wrong, lambda row: f"column {name!r}: expected a time in the years 1 to 9999, found {shown(values[row])}"
    )
