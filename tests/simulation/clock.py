"""Time and chance of this process, given by a world while one runs.

Services take time from `time` and chance from `random`, `secrets` and `uuid`; for a seed to tell the same story
twice, all of it must come from the world. This module is imported before any service, so that defaults that name a
clock name these.
"""

import contextlib
import random
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

_worlds: list[Any] = []


def _given(real: Callable[..., Any], name: str) -> Callable[..., Any]:
    def asked(*arguments: Any) -> Any:
        return getattr(_worlds[-1], name)(*arguments) if _worlds else real(*arguments)

    return asked


class Clockwork:
    """What a world gives.

    Args:
        loop: virtual time.
        rng: all chance.
    """

    def __init__(self, loop: Any, rng: random.Random) -> None:
        self._loop = loop
        self.chance, self.randbits, self.token_bytes = rng.random, rng.getrandbits, rng.randbytes
        self._rng = rng
        self.monotonic, self.wall = loop.monotonic, loop.wall

    def monotonic_ns(self) -> int:
        """Monotonic nanoseconds."""
        return int(self._loop.monotonic() * 1e9)

    def wall_ns(self) -> int:
        """Nanoseconds since the Unix epoch, by the node that asks."""
        return int(self._loop.wall() * 1e9)

    def uuid4(self) -> uuid.UUID:
        """A name."""
        return uuid.UUID(int=self._rng.getrandbits(128), version=4)


for _owner, _name, _what in (
    (time, "monotonic", "monotonic"),
    (time, "monotonic_ns", "monotonic_ns"),
    (time, "time", "wall"),
    (time, "time_ns", "wall_ns"),
    (secrets, "token_bytes", "token_bytes"),
    (secrets, "randbits", "randbits"),
    (random, "random", "chance"),
    (uuid, "uuid4", "uuid4"),
):
    setattr(_owner, _name, _given(getattr(_owner, _name), _what))


@contextlib.contextmanager
def taken_over(loop: Any, rng: random.Random) -> Iterator[None]:
    """Everything asks this world for time and chance."""
    _worlds.append(Clockwork(loop, rng))
    try:
        yield
    finally:
        _worlds.pop()
