"""Usage from a settled job to a receiver that checks the signature, and to files: real stores, sockets, identities."""

import asyncio
import contextlib
import json
import time

import pyarrow.parquet as pq
import pytest

from tether.billing.hour import from_lines
from tether.billing.verify import verify
from tether.errors import Reason, TetherError
from tether.identity import Identity, Trust
from tether.job.hold import Position
from tether.job.price import Price
from tether.job.state import State
from tether.node import region
from tether.store import open_jobs
from tether.store.jobs import Completion, Driver, Reservation, Subject, Worker
from tether.testing.postgres import PostgresServer, binaries, database_of
from tether_orchestrator.billing import Billing
from tether_orchestrator.config import Config

HOUR_MS = 3_600_000
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BAD = b"HTTP/1.1 500 Oh\r\n\r\n"


class Receiver:
    """A careful receiver behind HTTP: checks signatures, counts each key once."""

    def __init__(self, trust):
        self.trust, self.answers = trust, []
        self.seen, self.rows, self.posts = {}, [], 0
        self.url = ""

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.posts += 1
            batch = verify(headers, body, self.trust, time.time())
            if self.seen.setdefault(batch["key"], body) != body:
                raise AssertionError("one key, two bodies")
            answer = self.answers.pop(0) if self.answers else OK
            if answer is None:
                await reader.read()
            else:
                self.rows += [row for row in batch["rows"] if row not in self.rows]
                writer.write(answer)
                await writer.drain()
        writer.transport.abort()


class Site:
    """A job store, an orchestrator's identity, and a receiver."""

    def __init__(self, state, url, receiver):
        self.state, self.url, self.receiver = state, url, receiver
        self.offset_ms = 0

    def now_ms(self):
        return time.time_ns() // 1_000_000 + self.offset_ms

    def config(self, node="orchestrator", **settings):
        store = self.url if "://" in self.url else ""
        fast = {"billing_period_s": 0.05, "billing_timeout_s": 0.3}
        return Config(state=self.state / node, store=store, **fast, **settings)

    def billing(self, store, node="orchestrator", **settings):
        return Billing(self.config(node, **settings), store, Identity.load(self.state / node))

    async def settle(self, store, number):
        name = f"job-{number}"
        job = store.job_id("acme", name, "")
        subject = Subject(job, "acme", name, "", True, b"h" * 32, "m", "1.0", b"d" * 32, b"", 100)
        worker, driver = Worker("w", 1, "127.0.0.1:1"), Driver(b"s" * 16, "g")
        price = Price(3, 1_000, 2_000)
        await store.reserve([Reservation(subject, driver, worker, 1, self.now_ms() + HOUR_MS, price=price)])
        used = Position(10, number, 50)
        await store.complete([Completion(job, 1, State.DONE, used)])


@pytest.fixture(scope="module")
def server():
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgresServer() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgres"])
async def site(request, tmp_path):
    state = tmp_path / "state"
    region.prepare(state, "local", {"orchestrator": "orchestrator", "orchestrator-2": "orchestrator"})
    receiver = Receiver(Trust.load(state / "operator"))
    listener = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/usage"
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = str(state / "orchestrator" / "jobs.db")
        else:
            url = stack.enter_context(database_of(request.getfixturevalue("server")))
        yield Site(state, url, receiver)
    listener.close()


async def until(condition, timeout_s=20.0):
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  any condition, a deadline around it
            await asyncio.sleep(0.01)


async def test_usage_reaches_the_receiver_once_through_failures(site):
    store = await open_jobs(site.url, outbox=True)
    site.receiver.answers = [BAD, None]
    for number in range(1, 6):
        await site.settle(store, number)
    billing = site.billing(store, billing_url=site.receiver.url)
    await billing.start()
    await until(lambda: len(site.receiver.rows) == 5)
    await until(lambda: not site.receiver.answers)
    assert [row["output_tokens"] for row in site.receiver.rows] == [1, 2, 3, 4, 5]
    assert [row["cost_micros"] for row in site.receiver.rows] == [12, 14, 16, 18, 20]
    assert site.receiver.rows[0]["price_version"] == 3
    await billing.close()
    await billing.close()
    assert len({row["id"] for row in site.receiver.rows}) == 5
    await store.close()


async def test_usage_of_two_orchestrators_is_sent_by_one_and_taken_over(site):
    store = await open_jobs(site.url, outbox=True)
    if "://" not in site.url:
        await store.close()
        pytest.skip("a SQLite store has one orchestrator")
    first = site.billing(store, billing_url=site.receiver.url)
    second = site.billing(store, "orchestrator-2", billing_url=site.receiver.url)
    await first.start()
    await second.start()
    for number in range(1, 4):
        await site.settle(store, number)
    await until(lambda: len(site.receiver.rows) == 3)
    await first.close()
    await site.settle(store, 4)
    await until(lambda: len(site.receiver.rows) == 4)
    assert len({row["id"] for row in site.receiver.rows}) == 4
    await second.close()
    await store.close()


async def test_usage_of_the_last_hour_is_written_to_files(site, tmp_path):
    site.offset_ms = -HOUR_MS - 300_000
    store = await open_jobs(site.url, now_ms=site.now_ms)
    for number in range(1, 4):
        await site.settle(store, number)
    billing = site.billing(store, usage_folder=tmp_path / "shared")
    await billing.start()
    folder = tmp_path / "shared" / "usage"
    await until(lambda: folder.exists() and len([one for one in folder.iterdir() if one.suffix == ".parquet"]) > 0)
    (lines,) = [one for one in folder.iterdir() if one.suffix == ".jsonl"]
    rows = from_lines(lines.read_bytes(), lines.name)
    totals = [(row["tenant"], row["input_tokens"], row["output_tokens"], row["cost_micros"]) for row in rows]
    assert totals == [("acme", 30, 6, 42)]
    assert pq.read_table(lines.with_suffix(".parquet")).to_pylist()[0]["cost_micros"] == 42
    assert json.loads(lines.read_text())["region"] == "local"
    await billing.close()
    await store.close()


async def test_billing_without_settings_opens_nothing(site):
    store = await open_jobs(site.url)
    billing = site.billing(store)
    await billing.start()
    assert not (site.state / "orchestrator" / "billing.db").exists()
    await billing.close()
    await store.close()


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
async def test_billing_settings_that_cannot_be_met_are_refused(site):
    store = await open_jobs(site.url)
    with pytest.raises(TetherError, match="no-such-sink") as caught:
        await site.billing(store, usage_sinks=("no-such-sink",)).start()
    assert caught.value.reason is Reason.INVALID_FIELD
    with pytest.raises(ValueError, match="postgresql://"):
        Config(state=site.state, store="jobs.db")
    for url in ("http://billing.example/", "https://u:secret@billing.example/", "nowhere"):
        with pytest.raises(ValueError, match="must") as wrong:
            site.config(billing_url=url)
        assert "secret" not in str(wrong.value)
    await store.close()
