import pyarrow as pa

from components.example_gen.readers.plain_arrays import null_where


def test_missing_values_become_null():
    values = pa.array(["a", "", None, "b"])
    assert null_where(pa.array([False, True, None, False]), values).to_pylist() == ["a", None, None, "b"]


def test_values_of_which_none_is_missing_are_not_copied():
    values = pa.array(["a", None])
    assert null_where(pa.array([False, None]), values) is values
