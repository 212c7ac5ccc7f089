"""Streams that are read to their end and remembered, with what an unfaulted run would have given."""

import random
import time
from dataclasses import dataclass, field

from world import MODEL

from tether.client.aio import Client
from tether.errors import TetherError
from tether.testing import invariants
from tether.v1.infer_pb2 import Infer
from tether_worker.engine.row import noise_key
from tether_worker.engine.simulated import WORDS


def unfaulted(seed: int, tokens: int) -> invariants.Expected:
    """What the simulated engine answers: its words depend on seed and position alone."""
    ids = [noise_key(seed, 0, position) % len(WORDS) for position in range(tokens)]
    return invariants.Expected(b"".join(WORDS[token] for token in ids), ids)


@dataclass
class Record:
    """What a client saw of one stream.

    Attributes:
        seed: of the request.
        tokens: asked for.
        chunks: as they came.
        at_s: when each came, monotonic.
        cuts: after what the client had to take it up again, or to ask again.
        error: what it ended with, or None.
        began_s: when it was asked for.
    """

    seed: int
    tokens: int
    chunks: list[Infer.Chunk] = field(default_factory=list)
    at_s: list[float] = field(default_factory=list)
    cuts: list[str] = field(default_factory=list)
    error: TetherError | None = None
    began_s: float = 0.0

    @property
    def resumes(self) -> int:
        """How often the client had to take it up again."""
        return len(self.cuts)

    @property
    def refused(self) -> bool:
        """Whether it was refused, with leave to ask again, before anything of it came."""
        return self.error is not None and self.error.row.again and not self.chunks

    @property
    def job(self) -> str:
        """Job's id, or empty."""
        return next((chunk.started.job_id for chunk in self.chunks if chunk.started.job_id), "")

    @property
    def attempts(self) -> int:
        """Workers that it took."""
        return Infer.ReceiptBody.FromString(self.chunks[-1].receipt.body).attempts if self.chunks else 0

    @property
    def gap_s(self) -> float:
        """Longest wait between two chunks."""
        return max((b - a for a, b in zip(self.at_s, self.at_s[1:], strict=False)), default=0.0)

    def wrong(self) -> list[str]:
        """What does not hold of it."""
        if self.error is not None:
            return [f"it failed: {self.error}"]
        return invariants.check_stream(self.chunks, unfaulted(self.seed, self.tokens))


async def read(client: Client, seed: int, tokens: int, **options: object) -> Record:
    """Read one stream to its end."""
    record = Record(seed, tokens, began_s=time.monotonic())
    stream = client.stream("chaos", model=MODEL, seed=seed, max_tokens=tokens, **{"timeout_s": 60.0, **options})
    try:
        async with stream:
            async for piece in stream:
                record.chunks.append(piece.chunk)
                record.at_s.append(time.monotonic())
    except TetherError as error:
        record.error = error
    record.cuts = [reason.name for reason in stream.cuts]
    return record


def seeds(rng: random.Random, count: int) -> list[int]:
    """Seeds of requests, drawn from one."""
    return [rng.getrandbits(63) for _ in range(count)]
