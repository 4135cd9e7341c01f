"""What a query says about itself."""

import pytest

from trainer_module.data.sql import check_query, is_ordered, is_path, names_as_of

PINNED = "SELECT a FROM shop.t FOR SYSTEM_TIME AS OF @as_of"


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a FROM t",
        "select a from t;",
        "-- the orders\nSELECT a FROM t",
        "# the orders\nWITH x AS (SELECT 1 AS a) SELECT a FROM x",
        "/* ; @day */ (SELECT a FROM t) UNION ALL (SELECT a FROM u)",
        "FROM t |> SELECT a",
        PINNED,
        "SELECT a FROM t WHERE day < DATE(@AS_OF)",
        "SELECT 'DELETE; @day CURRENT_DATE RAND()' AS a, \"it's ?\" AS b FROM `p.d.current_date`",
        "SELECT r'\\d+@\\w+' AS a, '''x;\n@y''' AS b, \"\"\"?\"\"\" AS c FROM t",
        "SELECT rand AS a, brand FROM t",
        "SELECT t.current_date, t.rand FROM t",
        "SELECT 'it\\'s @day' AS a FROM t",
    ],
)
def test_queries(sql):
    check_query(sql)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("", "an empty query"),
        ("-- nothing", "an empty query"),
        ("DELETE FROM t WHERE TRUE", "begins with SELECT, WITH or FROM, and this text with 'DELETE'"),
        ("CREATE TABLE u AS SELECT 1", "and this text with 'CREATE'"),
        ("shop.sales.orders", "and this text with 'shop'"),
        ("SELECT 1; DROP TABLE t", "several statements"),
        ("SELECT a FROM t WHERE day = @day", "the parameter @day has no value; a query takes @as_of alone"),
        ("SELECT a FROM t WHERE day = ?", r"the parameter \? has no value"),
        ("SELECT a FROM t WHERE day = CURRENT_DATE", "CURRENT_DATE gives other rows in every run.*write @as_of"),
        ("SELECT a FROM t WHERE day = current_date()", "CURRENT_DATE gives other rows"),
        ("SELECT a FROM t WHERE rand() < .1", "RAND gives other rows in every run.*FARM_FINGERPRINT"),
        ("SELECT a FROM t TABLESAMPLE SYSTEM (10 PERCENT)", "TABLESAMPLE gives other rows.*FARM_FINGERPRINT"),
        ("SELECT GENERATE_UUID() AS a FROM t", "GENERATE_UUID gives other rows.*MD5"),
        ("SELECT a FROM t WHERE owner = session_user()", "SESSION_USER gives other rows.*write the name as a text"),
    ],
)
def test_refusals(sql, message):
    with pytest.raises(ValueError, match=message):
        check_query(sql)


@pytest.mark.parametrize(
    ("sql", "pinned"),
    [(PINNED, True), ("SELECT @As_Of", True), ("SELECT '@as_of'", False), ("SELECT 1 -- @as_of", False),
     ("SELECT @@as_of", False), ("SELECT @as_of_day", False)],
)  # fmt: skip
def test_as_of_is_found_outside_of_texts_and_comments(sql, pinned):
    assert names_as_of(sql) is pinned


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("SELECT a FROM t order\n by a LIMIT 3", True),
        ("SELECT a, ROW_NUMBER() OVER (PARTITION BY a ORDER BY b) FROM t", False),
        ("SELECT ARRAY(SELECT x FROM UNNEST(y) AS x ORDER BY ABS(x)) FROM t", False),
        ("SELECT 'ORDER BY' AS a FROM t", False),
    ],
)
def test_the_order_of_rows(sql, ordered):
    assert is_ordered(sql) is ordered


@pytest.mark.parametrize(
    ("text", "path"),
    [("orders.sql", True), ("my queries/orders.SQL", True), ("SELECT * FROM shop.sql", False), ("select.sql", True),
     ("SELECT 1", False)],
)  # fmt: skip
def test_paths_of_queries(text, path):
    assert is_path(text) is path
