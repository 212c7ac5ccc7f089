"""The state of one sequence's sampler, and the key of its noise."""

from dataclasses import dataclass, field

from tether_worker.engine.form import Constraint
from tether_worker.engine.runtime import Sampling

MASK64 = 2**64 - 1


@dataclass(slots=True)
class Row:
    """What the sampler needs to know about one sequence.

    Attributes:
        sampling: its parameters.
        counts: how often each token stands in its answer so far; kept only for penalties.
        position: number of the token to choose, from the start of the answer.
        constraint: keeps the answer to a form, or None.
        allowed: the constraint's mask for the token that was chosen last.
    """

    sampling: Sampling
    counts: dict[int, int] = field(default_factory=dict)
    position: int = 0
    constraint: Constraint | None = None
    allowed: bytes = b""

    @property
    def greedy(self) -> bool:
        """Whether the largest logit wins as it is."""
        return self.sampling.temperature == 0 and not self.penal and self.constraint is None

    @property
    def penal(self) -> bool:
        """Whether tokens of the answer so far are lowered."""
        return self.sampling.frequency_penalty != 0 or self.sampling.presence_penalty != 0

    def took(self, token: int) -> None:
        """Notes a token of the answer."""
        self.position += 1
        if self.penal:
            self.counts[token] = self.counts.get(token, 0) + 1


def mix64(value: int) -> int:
    """SplitMix64's finaliser on a 64-bit integer."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK64
    return value ^ (value >> 31)


def noise_key(seed: int, choice: int, position: int) -> int:
    """64-bit key of the noise at one position of one answer."""
    key = 0
    for part in (seed, choice, position):
        key = mix64((key ^ part) + 0x9E3779B97F4A7C15 & MASK64)
    return key
