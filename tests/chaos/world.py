"""A region of real processes to break: started, refilled after each kill, and audited at the end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pages import free_port, read_page

from tether.cli.operator import connect
from tether.cli.region import demo_folder
from tether.client.aio import Client
from tether.errors import TetherError
from tether.testing import invariants
from tether.testing.processes import Process, ProcessRegion
from tether.v1.control_pb2 import ListJobsRequest, VerifyQuotasRequest
from tether.v1.infer_pb2 import Job, JobState
from tether.v1.policy_pb2 import Policy, PolicyRule
from tether.v1.registry_pb2 import CreateKeyRequest, CreateTenantRequest, SetPolicyRequest

MODEL = "tether-demo"
BACK_S = 20.0  # a breaker closes within a second; a machine whose cores are taken needs more
SETTLE_S = 60.0  # deadlines of 30 s, and as long again for what a sweep or a next life has to end
ALLOWED_MODES = ("direct", "relay")


@dataclass(frozen=True)
class Plan:
    """What a world consists of.

    Attributes:
        workers: how many.
        gateways: how many.
        orchestrators: how many; more than one needs PostgreSQL.
        store: `sqlite` or `postgres`.
        mode: way of the chunks, `direct` or `relay`.
        worker: settings of each worker.
        gateway: settings of each gateway.
        orchestrator: settings of each orchestrator.
        tenants: names, each with a key.
        bridge: settings of the bridge; None for none.
    """

    workers: int = 4
    gateways: int = 1
    orchestrators: int = 1
    store: str = "sqlite"
    mode: str = "direct"
    worker: dict[str, object] = field(
        default_factory=lambda: {"engine": "simulated", "slots": 64, "simulated_token_ms": 10}
    )
    gateway: dict[str, object] = field(default_factory=dict)
    orchestrator: dict[str, object] = field(default_factory=dict)
    tenants: tuple[str, ...] = ("chaos",)
    bridge: dict[str, object] | None = None


class World:
    """The running region.

    Attributes:
        processes: by name, such as `worker-2`.
        keys: API key by tenant.
        postgres: the server, or None.
    """

    def __init__(self, plan: Plan, folder: Path, postgres: object | None, store: str) -> None:
        self.plan, self.postgres, self._store = plan, postgres, store
        self.region = ProcessRegion(folder)
        self.keys: dict[str, str] = {}
        self._pages: dict[str, int] = {}

    @property
    def processes(self) -> dict[str, Process]:
        """By name."""
        return self.region.running

    def names(self, service: str) -> list[str]:
        """Names of the processes of a service."""
        counts = {"worker": self.plan.workers, "gateway": self.plan.gateways, "orchestrator": self.plan.orchestrators}
        return [f"{service}-{number + 1}" for number in range(counts[service])]

    async def start(self) -> None:
        """Start all, and make tenants and keys."""
        await asyncio.to_thread(self.region.start, "registry", {"demo_model": demo_folder()})
        names = [*self.names("orchestrator"), *self.names("gateway"), *self.names("worker")]
        names += ["bridge"] if self.plan.bridge is not None else []
        for name in names:
            self.region.launch(name, self._settings(name))
        for name in names:
            await asyncio.to_thread(self.region.wait, self.processes[name])
        async with self.operator() as operator:
            access = await operator.access()
            for tenant in self.plan.tenants:
                await access.CreateTenant(CreateTenantRequest(tenant_id=tenant))
                self.keys[tenant] = (await access.CreateKey(CreateKeyRequest(tenant_id=tenant, label="chaos"))).token
            if self.plan.mode == "relay":
                rule = PolicyRule(name="relay", path=2)
                await access.SetPolicy(SetPolicyRequest(policy=Policy(rules=[rule])))
        await self.ready()

    async def ready(self) -> None:
        """Return once a request is answered."""
        async with self.client() as client:
            await _until(lambda: _answers(client), 30.0)

    def metrics(self, name: str) -> dict[str, float]:
        """Values of its Prometheus page that have no label."""
        return read_page(self._pages[name])

    def _settings(self, name: str) -> dict[str, object]:
        page = self._pages.setdefault(name, free_port())
        return {"metrics_port": page, **self._own_settings(name)}

    def _own_settings(self, name: str) -> dict[str, object]:
        match name.partition("-")[0]:
            case "orchestrator":
                store = {"store": self._store} if self._store else {}
                return {**store, **self.plan.orchestrator}
            case "bridge":
                return {"http": "127.0.0.1:0", **(self.plan.bridge or {})}
            case "gateway":
                port = self._port(name)
                return {"listen": f"127.0.0.1:{port}", **self.plan.gateway}
            case _:
                return dict(self.plan.worker)

    def _port(self, name: str) -> int:
        """A gateway comes back where its clients know it."""
        known = self.processes.get(name)
        return int(known.endpoints["gateway"].rpartition(":")[2]) if known and known.endpoints else 0

    def restart(self, name: str) -> None:
        """Start a killed process again; returns once it is ready."""
        old = self.processes[name]
        if old.child.stdout is not None:
            old.child.stdout.close()
        self.region.start(name, self._settings(name))

    @property
    def gateway_addresses(self) -> str:
        """Addresses of all gateways."""
        return ",".join(self.processes[name].endpoints["gateway"] for name in self.names("gateway"))

    def client(self, tenant: str = "", *, resume: bool = True, at: str = "") -> Client:
        """A client of a tenant."""
        key = self.keys[tenant or self.plan.tenants[0]]
        return Client(at or self.gateway_addresses, key, resume=resume)

    def operator(self) -> contextlib.AbstractAsyncContextManager:
        """The operator's connection."""
        return connect(self.region.folder, [self.region.bootstrap], self.region.region)

    async def audit(self, delivered: dict[str, int]) -> list[str]:
        """What does not hold once everything has come to rest.

        Args:
            delivered: tokens of whole answers by job.
        """
        wrong: list[str] = []
        async with self.operator() as operator:
            control = await operator.control()
            until_s = time.monotonic() + SETTLE_S
            while open_jobs := [job.name async for job in jobs(control) if job.state == JobState.JOB_STATE_RESERVED]:
                if time.monotonic() > until_s:
                    wrong.append(f"{len(open_jobs)} jobs never ended, {open_jobs[0]} among them")
                    break
                await asyncio.sleep(0.25)
            bills = {job.name: invariants.Bill(job.state, job.usage.output_tokens) async for job in jobs(control)}
            wrong += invariants.check_bills(bills, delivered)
            verified = await patiently(lambda: control.VerifyQuotas(VerifyQuotasRequest()))
            wrong += list(verified.violations)
        return wrong

    def stop(self) -> None:
        """Stop all."""
        self.region.stop()


async def jobs(control: object, tenant: str = "") -> AsyncIterator[Job]:
    """All jobs, or those of a tenant, newest first."""
    token = ""
    while True:
        asked = ListJobsRequest(page_size=1000, page_token=token, tenant_id=tenant)
        page = await patiently(lambda: control.ListJobs(asked))  # noqa: B023 - awaited before the next one
        for job in page.jobs:
            yield job
        token = page.next_page_token
        if not token:
            return


async def patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What an operator is told once a store or an orchestrator is back; TetherError where that takes too long."""
    until_s = time.monotonic() + BACK_S
    while True:
        try:
            return await ask()
        except TetherError as error:
            if not error.row.again or time.monotonic() > until_s:
                raise
        await asyncio.sleep(0.25)


async def _answers(client: Client) -> bool:
    try:
        answer = await client.infer("ready?", model=MODEL, max_tokens=2, timeout_s=5)
    except Exception:  # noqa: BLE001 - not yet
        return False
    return bool(answer.text)


async def _until(condition: Callable[[], Awaitable[bool]], limit_s: float) -> None:
    until_s = time.monotonic() + limit_s
    while not await condition():
        if time.monotonic() > until_s:
            raise TimeoutError("the region does not answer")
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def world(plan: Plan, folder: Path) -> AsyncIterator[World]:
    """A running world; all of it is stopped at the end."""
    postgres, store = None, ""
    if plan.store == "postgres":
        from tether.testing.postgres import PostgresServer

        postgres = PostgresServer()
        await asyncio.to_thread(postgres.start)
        store = await asyncio.to_thread(postgres.create_database, "chaos")
    made = World(plan, folder / "region", postgres, store)
    try:
        await made.start()
        yield made
    finally:
        await asyncio.to_thread(made.stop)
        if postgres is not None:
            await asyncio.to_thread(postgres.stop)
