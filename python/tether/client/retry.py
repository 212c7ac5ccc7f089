"""When a cut stream is taken up again, and after which wait: full jitter, never longer than the caller has.

Pure: time and chance are arguments. A resumed stream costs the network no second run, so it goes on for as long as the
request's own deadline, or `PATIENCE_S` without a new chunk where there is none.
Source: Brooker, "Exponential Backoff and Jitter", 2015; docs/design/streams.md §3.
"""

from tether.errors import TABLE, Code, Reason, TetherError

PATIENCE_S = 30.0  # six leases of a session: by then a reader has taken the job over, or nobody will
FIRST_S = 0.02  # a gateway that was killed is refused at once, and the next one answers in milliseconds
LONGEST_S = 1.0
_CUT = frozenset({Reason.INTERNAL, Reason.JOB_CANCELLED})  # what grpc makes of a connection that broke


def resumable(error: TetherError) -> bool:
    """Whether the same job may be read on elsewhere or later.

    A code without details is the transport's: the connection broke, whatever it calls that.
    """
    if "code" in error.metadata and error.reason in _CUT:
        return True
    return error.row.again and TABLE[error.reason].code in (Code.UNAVAILABLE, Code.RESOURCE_EXHAUSTED)


def fresh(error: TetherError) -> bool:
    """Whether a request that got no chunk may be sent again: only where no gateway worked on it."""
    return error.reason is Reason.DRAINING or ("code" in error.metadata and resumable(error))


class Patience:
    """How long one stream goes on trying.

    Args:
        deadline_s: when the request must have ended, monotonic seconds, or None.
        now_s: monotonic seconds.
    """

    def __init__(self, deadline_s: float | None, now_s: float) -> None:
        self._deadline_s = deadline_s
        self._until_s = now_s + PATIENCE_S
        self._failures = 0

    @property
    def failures(self) -> int:
        """Tries that failed since the last chunk."""
        return self._failures

    def progressed(self, now_s: float) -> None:
        """A chunk came."""
        self._failures = 0
        self._until_s = now_s + PATIENCE_S

    def left_s(self, now_s: float) -> float | None:
        """Seconds until the deadline, or None without one."""
        return None if self._deadline_s is None else self._deadline_s - now_s

    def wait_s(self, error: TetherError, now_s: float, chance: float) -> float | None:
        """Seconds to wait before the next try, or None where it is time to give up.

        Args:
            error: what ended the last one.
            now_s: monotonic seconds.
            chance: 0 to 1, drawn anew.
        """
        self._failures += 1
        wait_s = chance * min(LONGEST_S, FIRST_S * 2 ** min(self._failures, 10))
        if error.retry_after_s is not None and error.row.code is Code.RESOURCE_EXHAUSTED:
            wait_s += error.retry_after_s
        limits = [self._until_s, *([] if self._deadline_s is None else [self._deadline_s])]
        return wait_s if now_s + wait_s < min(limits) else None
