"""An operator's verbs as a shell runs them, against a real registry and an orchestrator that answers as told."""

import asyncio
import json
import sys

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tether.config import ServiceConfig
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.node import region
from tether.node.node import Node
from tether.testing.tiny_model import write_tiny_decoder
from tether.v1 import control_pb2 as pb
from tether.v1.control_pb2_grpc import ControlServiceServicer, add_ControlServiceServicer_to_server
from tether.v1.infer_pb2 import Infer, Job, JobState
from tether_registry.app import build
from tether_registry.config import Config

ROLES = {"registry": "registry", "orchestrator": "orchestrator"}
JOB = "0123456789abcdef0123456789abcdef"
FILE = """
rules:
  - name: relay-it
    path: relay
    weight: 5
"""


class Control(ControlServiceServicer):
    """Answers with what a test put in, and keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.violations = []

    def letter(self):
        job = Job(name=JOB, tenant_id="demo", model_id="tiny", version="1.0", state=JobState.JOB_STATE_DEAD)
        attempt = pb.DeadAttempt(epoch=1, worker_id="w", gained=Infer.Position(tokens=3), error="WORKER_LOST")
        at = Timestamp(seconds=1_800_000_000)
        return pb.DeadLetter(name=JOB, job=job, reason="POISON", attempts=[attempt], kept=True, created_at=at)

    async def ListDeadLetters(self, request, context):
        self.asked.append(request)
        return pb.ListDeadLettersResponse(dead_letters=[self.letter()])

    async def GetDeadLetter(self, request, context):
        letter = self.letter()
        letter.request = b"the request"
        return pb.GetDeadLetterResponse(dead_letter=letter)

    async def AnalyzeDeadLetters(self, request, context):
        self.asked.append(request)
        return pb.AnalyzeDeadLettersResponse(groups=[pb.DeadLetterGroup(by="reason", value="POISON", count=2)])

    async def RequeueDeadLetter(self, request, context):
        self.asked.append(request)
        return pb.RequeueDeadLetterResponse(job=Job(name=request.name, state=JobState.JOB_STATE_RESERVED))

    async def DropDeadLetter(self, request, context):
        raise TetherError(Reason.JOB_UNKNOWN, "There is no such dead letter.")

    async def VerifyQuotas(self, request, context):
        return pb.VerifyQuotasResponse(violations=self.violations, jobs=7, entries=14)

    async def ListAccounts(self, request, context):
        return pb.ListAccountsResponse(accounts=[pb.Account(tenant_id="demo", open_jobs=1, tokens_today=40)])

    async def ListBreakers(self, request, context):
        return pb.ListBreakersResponse(breakers=[pb.Breaker(model_id="tiny", region="local", state="open", trips=2)])


class Site:
    """A small region and its shell."""

    def __init__(self, state, control, bootstrap):
        self.state, self.control, self.bootstrap = state, control, bootstrap

    async def tether(self, *words, code=0, stdin=b""):
        where = ("--state", str(self.state), "--bootstrap", self.bootstrap)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tether.cli", *words, *where,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        assert process.returncode == code, f"{words}: {process.returncode}\n{out.decode()}\n{err.decode()}"
        assert b"Traceback" not in err
        return out.decode() if code == 0 or out else err.decode()

    async def json(self, *words, **options):
        return json.loads(await self.tether(*words, "-o", "json", **options))


@pytest.fixture
async def site(tmp_path):
    state = tmp_path / "state"
    region.prepare(state, "local", ROLES)
    registry = build(Config(state=state / "registry", demo_model=write_tiny_decoder(tmp_path / "demo", name="tiny")))
    await registry.start()
    bootstrap = registry.endpoints()["registry-overlay"]
    node = await Node.open(ServiceConfig(state=state / "orchestrator", bootstrap=(bootstrap,)), Role.ORCHESTRATOR)
    control = Control()

    def add(server):
        add_ControlServiceServicer_to_server(control, server)
        return ["tether.v1.ControlService"]

    await node.serve(add)
    await node.present()
    yield Site(state, control, bootstrap)
    await node.close()
    await registry.close()


async def test_policy_is_set_shown_edited_and_tested(site, tmp_path):
    made = await site.json("policy", "set", "-", "--tenant", "demo", "--note", "why", stdin=FILE.encode())
    assert (made["name"], made["version"], made["rules"], made["note"]) == ("demo", 1, ["relay-it"], "why")
    shown = await site.tether("policy", "show", "--tenant", "demo")
    assert "path: relay" in shown
    (tmp_path / "edited.yaml").write_text(shown.replace("weight: 5", "weight: 6"))
    assert (await site.json("policy", "set", str(tmp_path / "edited.yaml")))["version"] == 2
    refused = await site.tether("policy", "set", str(tmp_path / "edited.yaml"), code=2)
    assert "at version 2" in refused
    said = await site.json("policy", "test", "--tenant", "demo", "--model", "tiny")
    assert (said["allowed"], said["path"], said["weight"]) == (True, "relay", 6)
    assert any(line.startswith("relay-it: ") for line in said["why"])
    assert [one["version"] for one in await site.json("policy", "ls", "--versions-of", "demo")] == [2, 1]
    assert [one["name"] for one in await site.json("policy", "ls")] == ["demo"]


async def test_policy_that_refuses_exits_with_one_and_names_the_rule(site, tmp_path):
    (tmp_path / "no.json").write_text('{"rules": [{"name": "only-sealed", "encryption_required": true}]}')
    words = ("policy", "test", "--tenant", "demo", "--model", "tiny", "--file", str(tmp_path / "no.json"))
    said = await site.json(*words, code=1)
    assert said["allowed"] is False
    assert "only-sealed" in said["refused"]
    assert (await site.json(*words, "--sealed"))["allowed"] is True


async def test_prices_and_limits_are_set_and_listed(site):
    words = ("prices", "set", "tiny", "--input-micros", "150", "--output-micros", "600")
    assert (await site.json(*words))["version"] == 1
    assert [one["output_micros"] for one in await site.json("prices", "ls")] == [600]
    nope = await site.tether("prices", "set", "tinny", "--input-micros", "1", "--output-micros", "1", code=4)
    assert "tinny" in nope
    await site.tether("tenants", "quota", "demo", "--tokens-per-day", "100", "--concurrent-jobs", "3")
    changed = await site.json("tenants", "quota", "demo", "--spend-per-day-micros", "5")
    limits = ("tokens_per_day", "concurrent_jobs", "spend_per_day_micros", "requests_per_minute")
    assert [changed[one] for one in limits] == [100, 3, 5, None]
    assert "--help" in await site.tether("tenants", "quota", "demo", code=2)
    (account,) = await site.json("quotas", "show")
    assert (account["tokens_today"], account["tokens_per_day"], account["concurrent_jobs"]) == (40, 100, 3)


async def test_quotas_verify_exits_with_one_on_violations(site):
    assert await site.json("quotas", "verify") == {"jobs": 7, "entries": 14, "violations": []}
    site.control.violations = ["tenant demo holds 5 and its jobs 4"]
    assert "holds 5" in (await site.json("quotas", "verify", code=1))["violations"][0]


async def test_dead_letters_are_listed_shown_saved_and_requeued(site, tmp_path):
    (row,) = await site.json("dead-letters", "ls", "--reason", "poison")
    assert (row["name"], row["reason"], row["attempts"]) == (JOB, "POISON", 1)
    assert site.control.asked[0].reason == "POISON"
    shown = await site.json("dead-letters", "show", JOB, "--save", str(tmp_path / "request.bin"))
    assert (shown["request_bytes"], shown["attempts"][0]["gained_tokens"]) == (11, 3)
    assert "the request" not in json.dumps(shown)
    assert (tmp_path / "request.bin").read_bytes() == b"the request"
    assert (await site.json("dead-letters", "analyze", "--by", "reason", "--within", "2"))[0]["count"] == 2
    assert site.control.asked[1].within.seconds == 7_200
    again = await site.json("dead-letters", "requeue", JOB, "--request", str(tmp_path / "request.bin"))
    assert again["state"] == "reserved"
    assert site.control.asked[2].request == b"the request"
    assert "no such dead letter" in await site.tether("dead-letters", "drop", JOB, code=4)
    assert (await site.json("breakers"))[0]["trips"] == 2
