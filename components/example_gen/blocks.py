"""Cuts a text file into blocks of whole lines that can be read independently."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO


@dataclass(frozen=True)
class Block:
    """A range of bytes that begins and ends with a line.

    Attributes:
        index: From 0, in the order of the file.
        offset: First byte.
        size: Bytes.
        first_line: Number of the first line, from 1.
        num_lines: Lines, the last of which may lack its line end.
    """

    index: int
    offset: int
    size: int
    first_line: int
    num_lines: int


def find_blocks(file: BinaryIO, block_bytes: int) -> Iterator[Block]:
    """Reads a file once, holding one block at a time.

    Args:
        file: Opened for binary reading, at its start.
        block_bytes: Least size of a block but the last.

    Yields:
        Blocks that cover the file.
    """
    index, offset, line = 0, 0, 1
    while data := file.read(block_bytes):
        data += file.readline()
        num_lines = data.count(b"\n") + (not data.endswith(b"\n"))
        yield Block(index, offset, len(data), line, num_lines)
        index, offset, line = index + 1, offset + len(data), line + num_lines


def read_block(file: BinaryIO, block: Block) -> bytes:
    """Reads one block."""
    file.seek(block.offset)
    return file.read(block.size)
