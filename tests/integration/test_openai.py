"""The bridge as OpenAI's own Python client meets it: real sockets, a real overlay, a scripted gateway."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2 as httpx
import openai
import pytest
import pytest_asyncio

from tether.config import ServiceConfig
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.node import region
from tether.node.node import Node
from tether.store.registry_sqlite import SqliteRegistryStore
from tether.testing.catalogue import key_of, model_of, token
from tether.testing.gateway import JOB, FakeGateway, first, last, piece, say
from tether.v1 import registry_pb2 as pb
from tether_bridge.app import BridgeApp
from tether_bridge.app import build as build_bridge
from tether_bridge.config import Config
from tether_registry.app import build as build_registry
from tether_registry.config import Config as RegistryConfig

KEY = token(5)
pytestmark = pytest.mark.asyncio(loop_scope="module")
ORIGIN = "https://chat.example.org"
CHAT = {"model": "tether-demo", "messages": [{"role": "user", "content": "hi"}]}


@dataclass
class World:
    state: object
    overlay: str
    gateways: list[FakeGateway] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    bridge: BridgeApp | None = None

    @property
    def gateway(self) -> FakeGateway:
        return self.gateways[0]

    @property
    def url(self) -> str:
        return "http://" + self.bridge.endpoints()["bridge"]

    async def add_gateway(self, name: str) -> None:
        node = await Node.open(ServiceConfig(state=self.state / name, bootstrap=(self.overlay,)), Role.GATEWAY)
        gateway = FakeGateway()
        await node.serve(gateway.add_to)
        await node.present()
        self.gateways.append(gateway)
        self.nodes.append(node)

    async def start_bridge(self, **settings) -> None:
        config = Config(state=self.state / "bridge", bootstrap=(self.overlay,), http="127.0.0.1:0", **settings)
        self.bridge = build_bridge(config)
        await self.bridge.start()
        await until(lambda: len(self.bridge._peers[0].all()) == len(self.gateways))

    @contextlib.asynccontextmanager
    async def client(self, **options) -> AsyncIterator[openai.AsyncOpenAI]:
        options = {"api_key": KEY.text(), "max_retries": 0} | options
        client = openai.AsyncOpenAI(base_url=self.url + "/v1", **options)
        try:
            yield client
        finally:
            await client.close()

    @contextlib.asynccontextmanager
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {KEY.text()}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers) as client:
            yield client


async def until(condition, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  any condition, a deadline around it
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def opened(state) -> AsyncIterator[World]:
    """A registry with a tenant, a key and a model; a gateway; no bridge yet."""
    region.prepare(state, "local", {"registry": "registry", "g1": "gateway", "g2": "gateway", "bridge": "bridge"})
    store = await SqliteRegistryStore.open(state / "registry" / "registry.db")
    await store.create_tenant(pb.Tenant(name="demo"))
    await store.create_key(key_of(KEY, "demo"))
    await store.publish(model_of("tether-demo"))
    await store.close()
    registry = build_registry(RegistryConfig(state=state / "registry"))
    await registry.start()
    world = World(state, registry.endpoints()["registry-overlay"])
    await world.add_gateway("g1")
    try:
        yield world
    finally:
        if world.bridge is not None:
            await world.bridge.close()
        for node in world.nodes:
            await node.close()
        await registry.close()


USUAL = {"keep_alive_s": 0.1, "cors_origins": (ORIGIN,), "body_bytes_max": 100_000}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory):
    """One region for all tests that leave it as it was."""
    async with opened(tmp_path_factory.mktemp("region") / "state") as made:
        await made.start_bridge(**USUAL)
        yield made


@pytest.fixture
def world(shared):
    shared.gateway.reset()
    return shared


@pytest_asyncio.fixture(loop_scope="module")
async def bare(tmp_path):
    """A region of its own, without a bridge, for a test that breaks it."""
    async with opened(tmp_path / "state") as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def own(bare):
    """A region of its own."""
    await bare.start_bridge(**USUAL)
    return bare


async def test_client_gets_a_whole_answer(world):
    async with world.client() as client:
        answer = await client.chat.completions.create(
            model="tether-demo", messages=[{"role": "user", "content": "hi"}], max_tokens=9, temperature=0, seed=1
        )
    assert (answer.id, answer.model, answer.choices[0].finish_reason) == (f"chatcmpl-{JOB}", "tether-demo:1.0", "stop")
    assert answer.choices[0].message.content == "Hello world"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 2, 5)
    asked = world.gateway.requests[0]
    assert (asked.model_id, asked.parameters.max_tokens, asked.input.chat.messages[0].content) == (
        "tether-demo",
        9,
        "hi",
    )
    assert world.gateway.metadata[0]["authorization"] == f"Bearer {KEY.text()}"


async def test_client_gets_a_stream_with_usage(world):
    async with world.client() as client:
        stream = await client.chat.completions.create(**CHAT, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == "Hello world"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [one.choices[0].finish_reason for one in chunks if one.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 5


async def test_client_gets_completions(world):
    async with world.client() as client:
        whole = await client.completions.create(model="tether-demo:1.0", prompt="hi")
        stream = await client.completions.create(model="tether-demo:1.0", prompt="hi", stream=True)
        text = "".join([one.choices[0].text async for one in stream])
    assert (whole.choices[0].text, text) == ("Hello world", "Hello world")
    assert (world.gateway.requests[0].version, world.gateway.requests[0].input.text) == ("1.0", "hi")


async def test_client_lists_models(world):
    async with world.client() as client:
        listed = await client.models.list()
        shown = await client.models.retrieve("tether-demo:1.0")
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve("tehter-demo")
    assert [one.id for one in listed.data] == ["tether-demo", "tether-demo:1.0"]
    assert shown.id == "tether-demo:1.0"
    assert caught.value.code == "model_not_found"
    assert "tether-demo" in caught.value.message


@pytest.mark.parametrize("key", ["wrong", token(6).text()])
async def test_client_with_a_wrong_key_lists_nothing(world, key):
    async with world.client(api_key=key) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()


async def test_client_gets_a_typed_error_for_embeddings(world):
    async with world.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.embeddings.create(model="tether-demo", input="hi")
    assert (caught.value.status_code, caught.value.code, caught.value.param) == (501, "unsupported", "model")


def refuse(reason, **fields):
    async def script(request):
        raise TetherError(reason, "What happened.", **fields)
        yield first(request)

    return script


ERRORS = [
    (Reason.KEY_INVALID, openai.AuthenticationError, {}),
    (Reason.TENANT_MISMATCH, openai.PermissionDeniedError, {}),
    (Reason.MODEL_UNKNOWN, openai.NotFoundError, {"field": "model_id"}),
    (Reason.INVALID_FIELD, openai.BadRequestError, {"field": "parameters.temperature"}),
    (Reason.JOB_CONFLICT, openai.ConflictError, {"field": "correlation_id"}),
    (Reason.OVERLOADED, openai.RateLimitError, {"retry_after_s": 0.25}),
    (Reason.WORKER_LOST, openai.InternalServerError, {}),
    (Reason.DEADLINE, openai.InternalServerError, {}),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("reason", "kind", "fields"), ERRORS)
async def test_client_gets_typed_errors(world, reason, kind, fields, stream):
    world.gateway.script = refuse(reason, **fields)
    async with world.client() as client:
        with pytest.raises(kind) as caught:
            await client.chat.completions.create(**CHAT, stream=stream)
    assert "What happened." in caught.value.message
    params = {"model_id": "model", "parameters.temperature": "temperature", "correlation_id": "Idempotency-Key"}
    assert caught.value.param == params.get(fields.get("field"))
    headers = caught.value.response.headers
    assert headers["x-should-retry"] == ("true" if reason is Reason.OVERLOADED else "false")
    assert headers.get("retry-after-ms") == {Reason.OVERLOADED: "250", Reason.WORKER_LOST: "1000"}.get(reason)


async def test_client_sends_again_what_was_shed(world):
    refusals = [TetherError(Reason.OVERLOADED, "Full.", retry_after_s=0.01)]

    async def script(request):
        if refusals:
            raise refusals.pop()
        async for chunk in say("ok")(request):
            yield chunk

    world.gateway.script = script
    async with world.client(max_retries=2) as client:
        answer = await client.chat.completions.create(**CHAT)
    assert answer.choices[0].message.content == "ok"
    assert len(world.gateway.requests) == 2


async def test_client_does_not_send_again_what_may_have_run(world):
    world.gateway.script = refuse(Reason.WORKER_LOST, retry_after_s=0.01)
    async with world.client(max_retries=2) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(**CHAT)
        assert len(world.gateway.requests) == 1
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(**CHAT, extra_headers={"Idempotency-Key": "order-7"})
    assert [one.correlation_id for one in world.gateway.requests[1:]] == ["order-7"] * 3


async def cut(request):
    yield first(request, "Hel")
    yield piece("lo")


async def broken(request):
    yield first(request, "Hel")
    yield piece("lo")
    raise TetherError(Reason.WORKER_LOST, "The worker is lost.")


async def cancelled(request):
    yield first(request, "Hel")
    yield Infer_cancelled()


def Infer_cancelled():
    from tether.v1.infer_pb2 import Infer

    return Infer.Chunk(done=True, finish_reason=Infer.FINISH_REASON_CANCELLED)


async def gather(stream, chunks):
    async for chunk in stream:
        chunks.append(chunk)


@pytest.mark.parametrize("script", [cut, broken, cancelled])
async def test_truncated_stream_never_looks_complete(world, script):
    world.gateway.script = script
    async with world.client() as client:
        stream = await client.chat.completions.create(**CHAT, stream=True)
        chunks = []
        with pytest.raises(openai.APIError):
            await gather(stream, chunks)
    assert "".join(one.choices[0].delta.content or "" for one in chunks).startswith("Hel")
    assert all(one.choices[0].finish_reason is None for one in chunks)


@pytest.mark.parametrize("script", [cut, broken, cancelled])
async def test_truncated_answer_is_an_error(world, script):
    world.gateway.script = script
    async with world.client() as client:
        with pytest.raises(openai.APIStatusError):
            await client.chat.completions.create(**CHAT)


async def test_truncated_stream_has_no_done(world):
    world.gateway.script = broken
    async with world.http() as http:
        body = (await http.post("/v1/chat/completions", json=CHAT | {"stream": True})).text
    assert "[DONE]" not in body
    event = json.loads(body.strip().rpartition("data: ")[2])
    assert event["error"]["code"] == "worker_lost"


async def test_stream_of_a_gateway_that_dies_never_looks_complete(own):
    async def script(request):
        yield first(request, "Hel")
        await asyncio.Event().wait()

    own.gateway.script = script
    async with own.client() as client:
        stream = await client.chat.completions.create(**CHAT, stream=True)
        assert (await anext(stream)).choices[0].delta.role == "assistant"
        await own.nodes[0].close()
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass


async def test_stream_of_a_bridge_that_closes_never_looks_complete(own):
    async def script(request):
        yield first(request, "Hel")
        await asyncio.Event().wait()

    own.gateway.script = script
    async with own.client() as client:
        stream = await client.chat.completions.create(**CHAT, stream=True)
        await anext(stream)
        closing = asyncio.create_task(own.bridge.close())
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass
        await closing


async def test_drain_lets_a_stream_finish(own):
    go = asyncio.Event()

    async def script(request):
        yield first(request, "Hel")
        await go.wait()
        yield piece("lo")
        yield last()

    own.gateway.script = script
    async with own.client() as client:
        stream = await client.chat.completions.create(**CHAT, stream=True)
        await anext(stream)
        draining = asyncio.create_task(own.bridge.drain(5.0))
        await until(lambda: own.bridge._desk.draining)
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(**CHAT)
        assert caught.value.code == "draining"
        go.set()
        assert "".join([one.choices[0].delta.content or "" async for one in stream]) == "Hello"
        await draining


@pytest.mark.parametrize("stream", [False, True])
async def test_client_that_leaves_ends_the_call(world, stream):
    async def script(request):
        if stream:
            yield first(request, "Hel")
        await asyncio.Event().wait()
        yield last()

    world.gateway.script = script
    async with world.http() as http:
        task = asyncio.create_task(http.post("/v1/chat/completions", json=CHAT | {"stream": stream}))
        await until(lambda: world.gateway.requests)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(world.gateway.left.wait(), 3)
    await until(lambda: not world.bridge._desk._running)


async def test_silent_stream_is_kept_alive_before_and_within_it(world):
    async def script(request):
        await asyncio.sleep(0.35)
        yield first(request, "a")
        await asyncio.sleep(0.35)
        yield last()

    world.gateway.script = script
    async with world.http() as http:
        response = await http.post("/v1/chat/completions", json=CHAT | {"stream": True})
    before, _, after = response.text.partition('"content":"a"')
    assert before.count(": keep-alive") >= 2
    assert after.count(": keep-alive") >= 2
    assert response.text.endswith("data: [DONE]\n\n")
    async with world.client() as client:
        stream = await client.chat.completions.create(**CHAT, stream=True)
        assert [one.choices[0].delta.content or "" async for one in stream] == ["", "a", ""]


async def test_headers_name_the_request_and_close_doors(world):
    async with world.http() as http:
        response = await http.post("/v1/chat/completions", json=CHAT, headers={"idempotency-key": "order-7"})
        failed = await http.post("/v1/chat/completions", content=b"{")
    assert response.headers["x-request-id"] == "order-7"
    assert failed.headers["x-request-id"].startswith("req-")
    for one in (response, failed):
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in one.headers["content-security-policy"]
        assert "server" not in one.headers


async def test_deadline_and_trace_travel_on(world):
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with world.client(timeout=7.0) as client:
        await client.chat.completions.create(**CHAT, extra_headers={"traceparent": parent})
        await client.chat.completions.create(**CHAT, extra_headers={"traceparent": "nonsense"})
    assert world.gateway.metadata[0]["traceparent"] == parent
    assert "traceparent" not in world.gateway.metadata[1]
    assert 5.0 < world.gateway.deadlines_s[0] < 8.0


BAD = [
    (b"{", 400, None),
    (b"[]", 400, None),
    (b'{"model": "tether-demo", "messages": []}', 400, "messages"),
    (b'{"model": "tether-demo", "messages": [{"role": "user", "content": "\xff"}]}', 400, None),
    (json.dumps(CHAT | {"temprature": 1}).encode(), 400, "temprature"),
    (json.dumps(CHAT | {"max_tokens": -5}).encode(), 400, "max_tokens"),
    (json.dumps(CHAT).encode()[:-1] + b', "temperature": NaN}', 400, None),
    (json.dumps(CHAT | {"logit_bias": {"1": 5}}).encode(), 501, "logit_bias"),
    (b"x" * 100_001, 413, None),
]


@pytest.mark.parametrize(("body", "status", "param"), BAD)
async def test_bad_body_is_refused_without_a_gateway(world, body, status, param):
    async with world.http() as http:
        response = await http.post("/v1/chat/completions", content=body)
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert world.gateway.requests == []


async def test_huge_body_without_a_length_is_refused(world):
    async def parts():
        for _ in range(20):
            yield b"x" * 10_000

    async with world.http() as http:
        response = await http.post("/v1/chat/completions", content=parts())
    assert response.status_code == 413


async def test_body_of_100_mb_is_refused_fast_and_nothing_is_kept(world):
    begun_s = time.monotonic()
    async with world.http() as http:
        with contextlib.suppress(
            httpx.WriteError, httpx.ReadError
        ):  # the server may close while the client still sends
            response = await http.post("/v1/completions", content=b"x" * 100_000_000)
            assert response.status_code == 413
        assert (await http.get("/healthz")).status_code == 200
    assert time.monotonic() - begun_s < 5.0
    assert world.gateway.requests == []


async def test_slow_client_holds_back_its_own_stream_alone(world):
    sent = 0

    async def script(request):
        nonlocal sent
        yield first(request)
        if request.correlation_id == "slow":
            for _ in range(2_000):
                sent += 1
                yield piece("x" * 10_000)
        yield last()

    world.gateway.script = script
    host, _, port = world.bridge.endpoints()["bridge"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1_024)
    body = json.dumps(CHAT | {"stream": True}).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: x", f"authorization: Bearer {KEY.text()}"]
    lines += ["idempotency-key: slow", f"content-length: {len(body)}", "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    await reader.readline()
    async with world.client() as client:
        for _ in range(3):
            await client.chat.completions.create(**CHAT)
    assert sent < 1_900
    writer.close()
    await asyncio.wait_for(world.gateway.left.wait(), 3)


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer \x80"])
async def test_missing_key_is_refused(world, header):
    async with httpx.AsyncClient(base_url=world.url) as http:
        headers = {"authorization": header.encode("latin-1")} if header else {}
        for path in ("/v1/chat/completions", "/v1/completions"):
            assert (await http.post(path, json=CHAT, headers=headers)).status_code == 401
        assert (await http.get("/v1/models", headers=headers)).status_code == 401


NOWHERE = [("GET", "/v1/nothing", 404), ("GET", "/v1/chat/completions", 405), ("PUT", "/healthz", 405)]


@pytest.mark.parametrize(("method", "path", "status"), NOWHERE)
async def test_unknown_path_or_method_is_json_too(world, method, path, status):
    async with world.http() as http:
        response = await http.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"


async def test_browser_of_a_named_origin_may_call(world):
    async with world.http() as http:
        asked = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "x-a, b"}
        preflight = await http.options("/v1/chat/completions", headers=asked)
        called = await http.post("/v1/chat/completions", json=CHAT, headers={"origin": ORIGIN})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert called.headers["access-control-allow-origin"] == ORIGIN
    assert "x-request-id" in called.headers["access-control-expose-headers"]


async def test_browser_of_another_origin_may_not(world):
    async with world.http() as http:
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        preflight = await http.options("/v1/chat/completions", headers=asked)
        called = await http.post("/v1/chat/completions", json=CHAT, headers={"origin": "https://evil.example"})
    assert preflight.status_code == 400
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in called.headers


async def test_bridge_without_origins_names_none(bare):
    await bare.start_bridge()
    async with bare.http() as http:
        called = await http.post("/v1/chat/completions", json=CHAT, headers={"origin": ORIGIN})
    assert "access-control-allow-origin" not in called.headers


@pytest.mark.parametrize("origin", ["*", "chat.example.org", "https://*.example.org", "https://a/b", "null"])
async def test_bridge_origin_that_lets_everybody_in_is_refused(tmp_path, origin):
    with pytest.raises(ValueError, match="origin"):
        Config(state=tmp_path, cors_origins=(origin,))


async def test_bridge_health_follows_gateways(bare):
    await bare.start_bridge()
    async with bare.http() as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        await bare.nodes[0].drain(0.0)
        await until(lambda: not bare.bridge._desk.upstream.ready)
        gone = await http.get("/healthz")
    assert (gone.status_code, gone.json()) == (503, {"status": "unavailable"})


async def test_bridge_takes_the_next_gateway(bare):
    await bare.add_gateway("g2")
    await bare.start_bridge()
    async with bare.client() as client:
        await bare.nodes[0].server.stop(0)
        for _ in range(6):
            answer = await client.chat.completions.create(**CHAT)
            assert answer.choices[0].message.content == "Hello world"
    assert len(bare.gateways[1].requests) == 6


async def test_bridge_moves_on_from_a_gateway_that_drains(bare):
    await bare.add_gateway("g2")
    await bare.start_bridge()
    bare.gateways[0].script = refuse(Reason.DRAINING)
    async with bare.client() as client:
        for _ in range(4):
            await client.chat.completions.create(**CHAT)
    assert len(bare.gateways[1].requests) == 4


async def test_bridge_sheds_beyond_its_limit(bare):
    await bare.start_bridge(requests_max=1)

    async def script(request):
        yield first(request, "a")
        await asyncio.Event().wait()

    bare.gateway.script = script
    async with bare.client() as client:
        stream = await client.chat.completions.create(**CHAT, stream=True)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**CHAT)
        assert caught.value.code == "overloaded"
        await stream.close()


async def test_bridge_port_in_use_is_named(bare):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        bridge = build_bridge(Config(state=bare.state / "bridge", http=f"127.0.0.1:{port}"))
        with pytest.raises(TetherError, match="--bridge-port") as caught:
            await bridge.start()
    assert (caught.value.reason, caught.value.metadata["port"]) == (Reason.PORT_IN_USE, str(port))


async def test_bridge_body_that_never_comes_is_given_up(bare):
    await bare.start_bridge(body_timeout_s=0.2)
    host, _, port = bare.bridge.endpoints()["bridge"].rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    headers = ["host: x", f"authorization: Bearer {KEY.text()}", "content-length: 50"]
    writer.write("\r\n".join(["POST /v1/completions HTTP/1.1", *headers, "", "{"]).encode())
    begun_s = time.monotonic()
    status = await asyncio.wait_for(reader.readline(), 3)
    assert b"504" in status
    assert time.monotonic() - begun_s < 2.0
    writer.close()
    await writer.wait_closed()


async def connect(world):
    host, _, port = world.bridge.endpoints()["bridge"].rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_head_without_end_is_cut_off(world):
    reader, writer = await connect(world)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n")
    with contextlib.suppress(ConnectionError):
        for number in range(200):
            writer.write(f"x-{number}: {'a' * 1_000}\r\n".encode())
            await writer.drain()
        assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"])
async def test_head_that_never_comes_is_given_up(world, monkeypatch, sent):
    monkeypatch.setattr("tether_bridge.head.HEAD_S", 0.1)
    reader, writer = await connect(world)
    writer.write(sent)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 3) == b""
    writer.close()


async def test_head_may_follow_a_head(world, monkeypatch):
    monkeypatch.setattr("tether_bridge.head.HEAD_S", 0.2)
    async with world.http() as http:
        for _ in range(3):
            assert (await http.get("/healthz")).status_code == 200
            await asyncio.sleep(0.15)
    reader, writer = await connect(world)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    assert b"200" in await asyncio.wait_for(reader.readline(), 3)
    writer.write(b"GET /healthz HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionError):
        assert b"unavailable" not in await asyncio.wait_for(reader.read(), 3)
    writer.close()


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"\x00\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
async def test_bytes_that_are_no_http_are_refused(world, sent):
    reader, writer = await connect(world)
    writer.write(sent)
    with contextlib.suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 3)
        assert not answer.startswith(b"HTTP/1.1 2")
    writer.close()


async def test_bridge_without_gateway_says_so(bare, monkeypatch):
    from tether.node import find

    monkeypatch.setattr(find, "WAIT_S", 0.1)
    monkeypatch.setattr(find.Peers.one, "__defaults__", (0.1,))
    await bare.start_bridge()
    await bare.nodes[0].drain(0.0)
    await until(lambda: not bare.bridge._desk.upstream.ready)
    async with bare.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(**CHAT)
    assert caught.value.code == "unreachable"
