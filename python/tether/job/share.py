"""Parts of a tenant's limit for the gateways that its requests come through.

Max-min fair: a gateway that asks for less than an equal part gets what it asks for, and what it leaves goes to the
others; what nobody asks for is split evenly, so that a gateway whose demand grows is not held up until its next beat.
The parts add up to the limit, whoever asks for how much.
Source: Bertsekas and Gallager, "Data Networks", §6.5.2 (max-min fair flow control).
"""

from collections.abc import Mapping


def shares(limit: float, demands: Mapping[str, float]) -> dict[str, float]:
    """Split a limit.

    Args:
        limit: requests per minute, not negative.
        demands: requests per minute that each gateway was asked for.

    Returns:
        Requests per minute by gateway; they add up to the limit.
    """
    left, parts = limit, {}
    waiting = sorted(demands, key=lambda gateway: (demands[gateway], gateway))
    for at, gateway in enumerate(waiting):
        parts[gateway] = max(0.0, min(demands[gateway], left / (len(waiting) - at)))
        left -= parts[gateway]
    return {gateway: part + left / len(parts) for gateway, part in parts.items()}
