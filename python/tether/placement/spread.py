"""Which of the best? Several orchestrators that all take the very best worker send it more than it can do.

Each sees the others' placements only in the next report, so what looks best to one looks best to all. Two of the best
few are drawn for each job, and the better one of them takes it; alone, an orchestrator takes the best.
Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001, and "How Useful Is Old
Information?", 2000; figures by bench/herd.py.
"""

from collections.abc import Sequence
from hashlib import blake2b

from tether._native import Candidate

LOOKED_AT_MAX = 64  # as many as the index gives
_EACH = 4  # the best of each peer: enough that they seldom meet, few enough that all of them are good
_WORKERS_EACH = 10  # by bench/herd.py: fewer and small fleets look fuller than they are, more and large ones emptier
NEAR = 1.0  # of score: a third of what an idle queue is worth, and less than another region or a cold model costs


def counted(peers: int, workers: int) -> int:
    """As how many a placement counts: the others place as much, by the same reports, and spread it over the fleet.

    Args:
        peers: orchestrators that place on the same workers, this one among them.
        workers: how many there are; where they are few, what the others place meets too much of what is known.
    """
    return max(1, min(peers, 1 + workers // _WORKERS_EACH))


def looked_at(peers: int) -> int:
    """How many of the best are drawn from.

    Args:
        peers: orchestrators that place on the same workers, this one among them.
    """
    return 1 if peers <= 1 else min(_EACH * peers, LOOKED_AT_MAX)


def pick(found: Sequence[Candidate], key: str) -> Candidate:
    """The better of two that the key draws from those that are about as good as the best.

    Args:
        found: candidates, best first; at least one.
        key: of the job and of who places it.
    """
    if len(found) == 1:
        return found[0]
    least = found[0].score - NEAR
    near = next((number for number, one in enumerate(found) if one.score < least), len(found))
    drawn = blake2b(key.encode(), digest_size=8).digest()
    first, second = int.from_bytes(drawn[:4]) % near, int.from_bytes(drawn[4:]) % max(1, near - 1)
    return found[min(first, second + (second >= first))]
