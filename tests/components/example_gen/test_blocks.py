"""Blocks cover a file with whole lines."""

import io

from components.example_gen.blocks import find_blocks, read_block
from components.example_gen.ratings import split_lines
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.sampled_from([b"a", b"\n", b"\r", b"bb"]), max_size=40).map(b"".join), st.integers(1, 9))
def test_blocks_are_whole_lines_in_order(data: bytes, block_bytes: int):
    file = io.BytesIO(data)
    blocks = list(find_blocks(file, block_bytes))
    contents = [read_block(file, block) for block in blocks]
    assert b"".join(contents) == data
    assert all(content.endswith(b"\n") for content in contents[:-1])
    line = 1
    for index, (block, content) in enumerate(zip(blocks, contents, strict=True)):
        assert (block.index, block.first_line, block.num_lines) == (index, line, len(split_lines(content)))
        line += block.num_lines
