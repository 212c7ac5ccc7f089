"""Lines of an export, read without trust: none that is longer than any of ours is taken into memory.

Source: jsonlines.org.
"""

from collections.abc import Iterator
from typing import TextIO

LINE_CHARS_MAX = 16 << 20  # a manifest of 3.5 MB and its summary as base64; a request has less


def lines_of(stream: TextIO) -> Iterator[str]:
    """Yield the lines of a text file; one that is too long comes in pieces, which are no lines of an export."""
    while line := stream.readline(LINE_CHARS_MAX + 1):
        yield line
