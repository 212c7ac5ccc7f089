"""Kinds of link entries, as docs/design/link.md numbers them: those below 32 are control and pass bulk."""

from enum import IntEnum
from typing import Final

NO_JOB: Final = bytes(16)  # job of entries that belong to the link itself


class Kind(IntEnum):
    """What an entry is; the names are those of docs/design/link.md."""

    HELLO = 1
    BEAT = 2
    CREDIT = 3
    CANCEL = 4
    PROGRESS = 5
    COMPLETE = 6
    OUTCOME = 7
    DETACH = 8
    DRAIN = 9
    START = 32
    ATTACH = 33
    CHUNK = 34
    END = 35
    FAIL = 36
