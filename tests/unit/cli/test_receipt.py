"""`tether receipt verify`: a receipt holds by the root document alone, or exit code and words say what does not."""

import base64
import json
import time

import pytest
from typer.testing import CliRunner

from tether.cli.main import app
from tether.client.receipt import ReceiptCheck, verify_receipt
from tether.client.result import Gathered
from tether.errors import Reason, TetherError
from tether.identity import Role
from tether.identity.signature import RECEIPT
from tether.testing.identities import Identities
from tether.v1.infer_pb2 import Infer

runner = CliRunner()


@pytest.fixture
def network(tmp_path):
    return Identities(tmp_path / "a"), tmp_path


def receipt_of(node, **fields):
    body = Infer.ReceiptBody(
        network_id=node.trust.network_id,
        job_id=bytes(16),
        epoch=2,
        attempts=2,
        tenant_id="acme",
        worker_id=node.node_id,
        model_id="m",
        version="1.0",
        complete=True,
    )
    body.ended_at.FromSeconds(int(time.time()))
    body.MergeFrom(Infer.ReceiptBody(**fields))
    raw = body.SerializeToString()
    return Infer.Receipt(body=raw, signature=node.identity.sign(RECEIPT, raw), credential=node.identity.credential)


def test_receipt_holds_by_the_root_alone(network):
    identities, folder = network
    path = folder / "paid.bin"
    path.write_bytes(receipt_of(identities.node("w", Role.WORKER)).SerializeToString())
    found = runner.invoke(app, ["receipt", "verify", str(path), "--root", str(folder / "a/network"), "-o", "json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.output)["tenant"] == "acme"


@pytest.mark.parametrize("nested", [True, False])
def test_receipt_is_found_in_json(network, nested):
    identities, folder = network
    receipt = receipt_of(identities.node("w", Role.WORKER))
    fields = {name: base64.b64encode(getattr(receipt, name)).decode() for name in ("body", "signature", "credential")}
    path = folder / "job.json"
    path.write_text(json.dumps({"receipt": fields} if nested else fields))
    found = runner.invoke(app, ["receipt", "verify", str(path), "--root", str(folder / "a/network/root.bin")])
    assert found.exit_code == 0, found.output


def test_receipt_of_another_network_does_not_hold(network):
    identities, folder = network
    other = Identities(folder / "b").node("w", Role.WORKER)
    with pytest.raises(TetherError) as caught:
        verify_receipt(receipt_of(other), identities.node("x", Role.WORKER).trust, time.time())
    assert caught.value.reason is Reason.NODE_TOKEN_INVALID


@pytest.mark.parametrize("role", [Role.GATEWAY, Role.ORCHESTRATOR])
def test_receipt_that_no_worker_signed_does_not_hold(network, role):
    node = network[0].node("n", role)
    with pytest.raises(TetherError) as caught:
        verify_receipt(receipt_of(node), node.trust, time.time())
    assert caught.value.reason is Reason.ROLE_FORBIDDEN


def test_receipt_changed_anywhere_does_not_hold(network):
    node = network[0].node("w", Role.WORKER)
    receipt = receipt_of(node)
    for name in ("body", "signature", "credential"):
        value = bytearray(getattr(receipt, name))
        for at in range(0, len(value), 7):
            bad = Infer.Receipt.FromString(receipt.SerializeToString())
            setattr(bad, name, bytes(value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]))
            with pytest.raises(TetherError):
                verify_receipt(bad, node.trust, time.time())


def test_file_without_an_end_is_not_read_to_its_end(network):
    network[0].node("w", Role.WORKER)
    found = runner.invoke(app, ["receipt", "verify", "/dev/zero", "--root", str(network[1] / "a/network")])
    assert isinstance(found.exception, TetherError)
    assert found.exception.reason is Reason.TOO_LARGE


@pytest.mark.parametrize("text", ["", "{}", '{"receipt": 7}', '{"receipt": "%%%"}', "[1]", "\x00\xff", "[" * 99_999])
def test_file_without_a_receipt_is_named(network, text):
    identities, folder = network
    identities.node("w", Role.WORKER)
    path = folder / "bad"
    path.write_text(text)
    found = runner.invoke(app, ["receipt", "verify", str(path), "--root", str(folder / "a/network")])
    assert isinstance(found.exception, TetherError)
    assert found.exception.reason is Reason.MALFORMED


@pytest.mark.parametrize("change", [{"job_id": bytes([1] * 16)}, {"end": Infer.Position(bytes=4)}])
def test_receipt_of_another_answer_is_refused(network, change):
    node = network[0].node("w", Role.WORKER)
    last = Infer.Chunk(done=True, receipt=receipt_of(node, **change))
    gathered = Gathered(started=Infer.Started(job_id=bytes(16).hex()), last=last)
    with pytest.raises(TetherError) as caught:
        ReceiptCheck(node.trust).check(gathered, time.time())
    assert caught.value.reason is Reason.STREAM_DIVERGED


def test_answer_without_a_receipt_is_refused(network):
    node = network[0].node("w", Role.WORKER)
    with pytest.raises(TetherError):
        ReceiptCheck(node.trust).check(Gathered(last=Infer.Chunk(done=True)), time.time())
