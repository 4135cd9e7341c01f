"""What a query in GoogleSQL says about itself, before any service reads it.

This is no parser: comments, texts and quoted names are taken away, and what is left is searched for words.
"""

import re

# The only parameter of a query.
AS_OF = "as_of"

_SKIPPED = re.compile(
    r"""
      (?P<comment> --[^\n]* | \#[^\n]* | /\*.*?\*/ )
    | (?P<text> \"{3}(?:\\.|.)*?\"{3} | '{3}(?:\\.|.)*?'{3} | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    | (?P<name> `(?:\\.|[^`\\])*` )
    """,
    re.VERBOSE | re.DOTALL,
)
_REPLACED = {"comment": " ", "text": "''", "name": "``"}
_BEGINS_QUERY = ("SELECT", "WITH", "FROM")
_PARAMETER = re.compile(r"(?<![@\w])@(\w+)|(\?)")
_ORDER_BY = re.compile(r"\bORDER\s+BY\b", re.IGNORECASE)
_INNERMOST = re.compile(r"\([^()]*\)")
# Functions whose value differs from run to run although no table has changed.
_VOLATILE = re.compile(
    r"(?<!\.)\b(?:(CURRENT_(?:DATE|DATETIME|TIMESTAMP|TIME)|TABLESAMPLE)\b|(RAND|GENERATE_UUID|SESSION_USER)\s*\()",
    re.IGNORECASE,
)

_BY_HASH = "choose rows by a hash of a column, as in MOD(FARM_FINGERPRINT(customer), 10) = 0"
_INSTEAD = {
    "RAND": _BY_HASH,
    "TABLESAMPLE": _BY_HASH,
    "GENERATE_UUID": "make names of columns, as in TO_HEX(MD5(CONCAT(customer, sku)))",
    "SESSION_USER": "write the name as a text",
}


def is_path(query: str) -> bool:
    """Whether a text names a file with a query, and is none itself: it ends in `.sql` and does not begin like one."""
    words = query.split(maxsplit=1)
    begins = bool(words) and words[0].upper() in _BEGINS_QUERY and len(words) > 1
    return query.lower().endswith(".sql") and "\n" not in query and not begins


def check_query(sql: str) -> None:
    """Checks that a text can be one query whose rows depend on tables and the parameter `@as_of` alone.

    Raises:
        ValueError: It cannot; says what to write.
    """
    text = _bare(sql).strip().removesuffix(";").strip()
    if not text:
        raise ValueError("an empty query; expected one that begins with SELECT, WITH or FROM")
    first = re.match(r"\(*\s*(\w*)", text)
    assert first is not None
    if first[1].upper() not in _BEGINS_QUERY:
        raise ValueError(
            f"a query begins with SELECT, WITH or FROM, and this text with {first[1] or text[0]!r}. A query in a file "
            "of its own is named by a path that ends in .sql"
        )
    if ";" in text:
        raise ValueError("the text holds several statements; expected one query. Take what follows the ; away")
    for match in _PARAMETER.finditer(text):
        if (match[1] or "").lower() != AS_OF:
            raise ValueError(f"the parameter {match[0]} has no value; a query takes @{AS_OF} alone")
    if match := _VOLATILE.search(text):
        function = (match[1] or match[2]).upper()
        instead = _INSTEAD.get(function, f"write @{AS_OF} in its place and set data.{AS_OF}")
        raise ValueError(
            f"{function} gives other rows in every run, and the cache of earlier runs cannot see it; {instead}"
        )


def names_as_of(sql: str) -> bool:
    """Whether a query has the parameter `@as_of`."""
    return any((match[1] or "").lower() == AS_OF for match in _PARAMETER.finditer(_bare(sql)))


def is_ordered(sql: str) -> bool:
    """Whether the rows of a query have an order, by an `ORDER BY` outside all parentheses."""
    text = _bare(sql)
    while (shorter := _INNERMOST.sub(" ", text)) != text:
        text = shorter
    return bool(_ORDER_BY.search(text))


def reads_information_schema(sql: str) -> bool:
    """Whether a query reads BigQuery's tables about tables."""
    return "INFORMATION_SCHEMA" in sql.upper()


def _bare(sql: str) -> str:
    """The text without comments and with empty texts and quoted names."""
    return _SKIPPED.sub(lambda match: _REPLACED[match.lastgroup or "comment"], sql)
