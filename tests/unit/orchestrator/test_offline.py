"""Jobs without the store: what the journal keeps of one is all of it."""

import random

from tether.job.hold import Position
from tether.job.price import Price
from tether.job.state import State
from tether.store.jobs import Driver, Subject, Worker
from tether.v1.placement_pb2 import Header
from tether_orchestrator.offline import OfflineJob, decode, encode


def job(rng: random.Random, state: State) -> OfflineJob:
    header = Header(
        tenant_id="acme", correlation_id="é" * rng.randint(0, 20), model_id="demo", request_hash=rng.randbytes(32)
    )
    subject = Subject(
        rng.randbytes(16), "acme", header.correlation_id, "", False, header.request_hash, "demo", "1.0",
        rng.randbytes(32), header.SerializeToString(), rng.getrandbits(40),
    )  # fmt: skip
    return OfflineJob(
        subject, rng.randbytes(16), Driver(rng.randbytes(16), "g" * 52), Worker("w" * 52, rng.getrandbits(60), "h:1"),
        rng.getrandbits(64), Price(rng.getrandbits(30), rng.getrandbits(50), rng.getrandbits(50)),
        rng.getrandbits(45), rng.getrandbits(45), state, rng.randint(1, 16),
        Position(rng.getrandbits(40), rng.getrandbits(40), rng.getrandbits(40)), rng.randbytes(rng.randint(0, 900)),
        rng.getrandbits(45),
    )  # fmt: skip


def test_job_comes_back_from_the_journal_as_it_was() -> None:
    rng = random.Random(11)
    for _ in range(200):
        one = job(rng, rng.choice(list(State)))
        assert decode(encode(one)) == one
