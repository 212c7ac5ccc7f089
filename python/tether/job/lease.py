"""Whether a gateway's session still stands, judged by an observer's own clock.

A session lapses when its beat did not change for a lease; wall clocks are never compared. After the store could not be
written nobody lapses until a lease after it can be again, since no beat could have arrived.
Source: docs/design/streams.md §3; Gray and Cheriton, "Leases", SOSP 1989.
"""

LEASE_S = 5.0  # as streams.md says


class Leases:
    """Beats of sessions as one observer saw them change.

    Args:
        lease_s: how long a session stands without another beat.
        now_s: monotonic time.
    """

    def __init__(self, lease_s: float, now_s: float) -> None:
        self._lease_s = lease_s
        self._start_s = now_s  # nothing can have lapsed before the observer watched for a lease
        self._seen: dict[bytes, tuple[int, float]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def heard(self, session: bytes, now_s: float) -> None:
        """The session's gateway spoke to this very observer."""
        self._seen[session] = (self._seen.get(session, (0, 0.0))[0], now_s)

    def seen(self, session: bytes, beat: int, now_s: float) -> None:
        """The session's row was read; the same beat as before changes nothing."""
        known = self._seen.get(session)
        if known is None or beat != known[0]:
            self._seen[session] = (beat, now_s)

    def meet(self, session: bytes, now_s: float) -> None:
        """The session drives a job, but nothing was heard of it yet: its lease begins."""
        self._seen.setdefault(session, (0, now_s))

    def standing(self, now_s: float) -> list[bytes]:
        """Sessions that somebody answers for, of those that are known."""
        return [session for session in self._seen if not self.lapsed(session, now_s)]

    def outage(self, now_s: float) -> None:
        """The store failed until now: every lease starts anew."""
        self._start_s = now_s

    def left(self, session: bytes) -> None:
        """The session said goodbye: it has lapsed."""
        self._seen[session] = (self._seen.get(session, (0, 0.0))[0], float("-inf"))

    def lapsed(self, session: bytes, now_s: float) -> bool:
        """Whether nobody answers for the session any more."""
        _beat, since_s = self._seen.get(session, (0, self._start_s))
        if since_s == float("-inf"):
            return True
        return now_s - max(since_s, self._start_s) >= self._lease_s

    def forget(self, now_s: float) -> list[bytes]:
        """Drop sessions that lapsed ten leases ago; returns them."""
        gone = [
            session for session, (_beat, since_s) in self._seen.items() if now_s - max(since_s, 0) >= 10 * self._lease_s
        ]
        for session in gone:
            del self._seen[session]
        return gone
