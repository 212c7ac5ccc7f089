import asyncio

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tether.errors import Reason, TetherError
from tether.identity import Role, allowed_roles, network
from tether.node.caller import caller, is_open
from tether.node.find import Peers
from tether.rpc.status import from_rpc_error
from tether.v1 import control_pb2_grpc, infer_pb2, infer_pb2_grpc, placement_pb2, placement_pb2_grpc


class Placement(placement_pb2_grpc.PlacementServiceServicer):
    async def Place(self, request, context):
        return placement_pb2.PlaceResponse(job_id=caller(context).node_id.encode())

    async def Session(self, request_iterator, context):
        async for _ in request_iterator:
            yield placement_pb2.SessionResponse(worker_lost=placement_pb2.WorkerLost(worker_id=caller(context).node_id))


class Inference(infer_pb2_grpc.InferenceServiceServicer):
    async def Cancel(self, request, context):
        caller(context)


def add(server):
    placement_pb2_grpc.add_PlacementServiceServicer_to_server(Placement(), server)
    infer_pb2_grpc.add_InferenceServiceServicer_to_server(Inference(), server)
    return ["tether.v1.PlacementService", "tether.v1.InferenceService"]


async def failure(call) -> TetherError:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return from_rpc_error(error.value)


@pytest.fixture
async def pair(opened):
    orchestrator = await opened("orchestrator", Role.ORCHESTRATOR)
    await orchestrator.serve(add)
    gateway = await opened("gateway", Role.GATEWAY, bootstrap=[orchestrator.overlay.address])
    return orchestrator, gateway


def stub(node, to):
    return placement_pb2_grpc.PlacementServiceStub(node.channels.to(to.node_id, to.address))


async def test_caller_is_known_in_unary_and_streaming_calls(pair):
    orchestrator, gateway = pair
    metadata = gateway.channels.metadata(orchestrator.node_id)
    placed = await stub(gateway, orchestrator).Place(placement_pb2.PlaceRequest(), metadata=metadata)
    assert placed.job_id.decode() == gateway.node_id
    session = stub(gateway, orchestrator).Session(metadata=metadata)
    await session.write(placement_pb2.SessionRequest())
    assert (await session.read()).worker_lost.worker_id == gateway.node_id
    session.cancel()


async def test_concurrent_calls_do_not_mix_their_callers(pair, opened):
    orchestrator, gateway = pair
    calls = [
        stub(gateway, orchestrator).Place(
            placement_pb2.PlaceRequest(), metadata=gateway.channels.metadata(orchestrator.node_id)
        )
        for _ in range(50)
    ]
    assert {(await call).job_id.decode() for call in calls} == {gateway.node_id}


async def test_call_without_token_is_refused(pair):
    orchestrator, gateway = pair
    error = await failure(stub(gateway, orchestrator).Place(placement_pb2.PlaceRequest()))
    assert error.reason is Reason.NODE_TOKEN_INVALID


async def test_call_with_a_token_for_another_node_is_refused(pair):
    orchestrator, gateway = pair
    metadata = gateway.channels.metadata(gateway.node_id)
    error = await failure(stub(gateway, orchestrator).Place(placement_pb2.PlaceRequest(), metadata=metadata))
    assert error.reason is Reason.NODE_TOKEN_INVALID


async def test_call_in_a_role_that_may_not_is_refused(pair, opened):
    orchestrator, _ = pair
    worker = await opened("worker-1", Role.WORKER)
    metadata = worker.channels.metadata(orchestrator.node_id)
    error = await failure(stub(worker, orchestrator).Place(placement_pb2.PlaceRequest(), metadata=metadata))
    assert error.reason is Reason.ROLE_FORBIDDEN


async def test_clients_methods_pass_and_know_no_caller(pair):
    orchestrator, gateway = pair
    client = infer_pb2_grpc.InferenceServiceStub(gateway.channels.to(orchestrator.node_id, orchestrator.address))
    error = await failure(client.Cancel(infer_pb2.CancelRequest()))
    assert error.reason is Reason.NODE_TOKEN_INVALID
    assert "carries no node token" in error.message


async def test_method_that_is_not_served_says_so_only_where_no_rule_names_it(pair):
    orchestrator, gateway = pair
    channel = gateway.channels.to(orchestrator.node_id, orchestrator.address)
    error = await failure(channel.unary_unary("/tether.v1.PlacementService/Plaice")(b""))
    assert error.reason is Reason.METHOD_UNKNOWN
    error = await failure(control_pb2_grpc.ControlServiceStub(channel).ListJobs(placement_pb2.PlaceRequest()))
    assert error.reason is Reason.NODE_TOKEN_INVALID


async def test_health_serves_then_drains(pair):
    orchestrator, gateway = pair
    health = health_pb2_grpc.HealthStub(gateway.channels.to(orchestrator.node_id, orchestrator.address))
    answer = await health.Check(health_pb2.HealthCheckRequest(service="tether.v1.PlacementService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = health.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    draining = asyncio.create_task(orchestrator.drain(1.0))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    await draining


async def test_peers_find_a_node_that_presents_itself_until_it_drains(pair):
    orchestrator, gateway = pair
    peers = Peers(gateway.overlay, "local", Role.ORCHESTRATOR)
    await orchestrator.present(store_id=bytes(16))
    found = await peers.one("any")
    assert (found.node_id, found.address) == (orchestrator.node_id, orchestrator.address)
    gone = asyncio.Event()
    peers.listen(gone.set)
    await orchestrator.drain(0.0)
    await asyncio.wait_for(gone.wait(), 2)
    assert peers.all() == []


async def test_second_node_on_the_same_folder_is_refused_and_takes_no_life(pair, opened, folders):
    with pytest.raises(TetherError) as error:
        await opened("gateway", Role.GATEWAY)
    assert error.value.reason is Reason.STATE_UNUSABLE
    assert (folders["gateway"] / "incarnation").read_text() == "1"


async def test_folder_is_free_again_after_a_failed_open_and_after_close(pair, opened, folders):
    orchestrator, gateway = pair
    port = int(orchestrator.overlay.address.rpartition(":")[2])
    with pytest.raises(TetherError) as error:
        await opened("worker-1", Role.WORKER, overlay_port=port)
    assert error.value.reason is Reason.PORT_IN_USE
    assert error.value.metadata == {"port": str(port), "flag": "--overlay-port"}
    await gateway.close()
    await gateway.close()
    assert (await opened("worker-1", Role.WORKER)).incarnation == 2
    assert (await opened("gateway", Role.GATEWAY)).incarnation == 2


async def test_node_without_folder_role_or_region_is_refused_at_start(opened, folders, tmp_path):
    folders["missing"] = tmp_path / "missing"
    with pytest.raises(TetherError, match="no state folder"):
        await opened("missing", Role.WORKER)
    with pytest.raises(TetherError) as error:
        await opened("gateway", Role.WORKER)
    assert error.value.reason is Reason.ROLE_FORBIDDEN
    with pytest.raises(TetherError) as error:
        await opened("gateway", Role.GATEWAY, region="mars")
    assert error.value.reason is Reason.ROLE_FORBIDDEN


async def test_node_with_an_expired_credential_is_refused_at_start(opened, folders, tmp_path):
    network.issue(tmp_path / "network", folders["gateway"], [Role.GATEWAY], ["local"], ttl_s=60, now_s=1_000_000)
    with pytest.raises(TetherError) as error:
        await opened("gateway", Role.GATEWAY)
    assert error.value.reason is Reason.NODE_TOKEN_INVALID


async def test_channel_is_pooled_per_node_and_new_after_a_move(pair):
    _, gateway = pair
    first = gateway.channels.to("n", "127.0.0.1:1")
    assert gateway.channels.to("n", "127.0.0.1:1") is first
    assert gateway.channels.to("n", "127.0.0.1:2") is not first
    assert gateway.channels.metadata("n")[0][1] is gateway.channels.metadata("n")[0][1]


def test_method_that_is_served_but_in_no_table_is_for_nobody():
    method = "/tether.v1.NewService/Call"
    assert is_open(method, frozenset())
    assert not is_open(method, frozenset({method}))
    assert allowed_roles(method, Role.GATEWAY) == frozenset()
