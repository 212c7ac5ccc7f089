"""Time and chance as the overlay's shells take them; tests give their own."""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Where time and chance come from.

    Attributes:
        wall_ms: milliseconds since the Unix epoch: only for what other machines check.
        now_s: monotonic seconds: for all waits and expiries.
        random_bytes: unguessable bytes.
        jitter: a factor around 1, so that nodes do not beat together.
    """

    wall_ms: Callable[[], int] = _wall_ms
    now_s: Callable[[], float] = time.monotonic
    random_bytes: Callable[[int], bytes] = secrets.token_bytes
    jitter: Callable[[], float] = field(default=lambda: random.uniform(0.9, 1.1))  # noqa: S311  # not a secret
