import numpy as np
import pyarrow as pa

from components.example_gen.joins.attributes import distinct


def test_distinct_numbers_and_the_index_of_each_rows():
    numbers, index = distinct(pa.array([7, 2, 7, 5, 2]))
    assert numbers.tolist() == [7, 2, 5]
    assert index.tolist() == [0, 1, 0, 2, 1]
    assert index.dtype == np.int64
