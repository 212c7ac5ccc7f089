"""`tether store` as a shell runs it, between a file and a real PostgreSQL, for jobs and for the registry."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys

import pytest

from tether.store import open_jobs, open_registry
from tether.store.jobs import Driver, Reservation, Subject, Worker
from tether.testing.catalogue import key_of, model_of, token
from tether.testing.postgres import PostgresServer, binaries, database_of
from tether.v1 import policy_pb2
from tether.v1 import registry_pb2 as pb


@pytest.fixture(scope="module")
def server():
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed")
    with PostgresServer() as running:
        yield running


def tether(*words, store="", code=0):
    environ = {**os.environ, "TETHER_STORE": str(store)}
    command = [sys.executable, "-m", "tether.cli", "store", *map(str, words)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout) if "json" in words else done.stdout + done.stderr


def reading(*words, **options):
    return tether(*words, "-o", "json", **options)


async def fill_registry(url):
    store = await open_registry(url)
    await store.create_tenant(pb.Tenant(name="acme", quota=pb.Quota(spend_per_day_micros=5)))
    await store.create_key(key_of(token(1), "acme"))
    signed = model_of("m", manifest=pb.Manifest(body=b"body").SerializeToString())
    signed.digest = hashlib.sha256(b"body").digest()
    await store.publish(signed)
    for _ in range(3):
        await store.set_policy(policy_pb2.Policy(rules=[policy_pb2.PolicyRule(name="r", weight=2)]), 0)
    await store.set_price(policy_pb2.Price(model_id="m", input_micros=7))
    found = await store.snapshot(b"")
    await store.close()
    return found


async def snapshot(url):
    store = await open_registry(url)
    found = await store.snapshot(b"")
    model = await store.model("m", "1.0")
    await store.close()
    assert model is not None
    assert model.manifest
    return found


async def reserve(url):
    store = await open_jobs(url)
    subject = Subject(store.job_id("t", "a", ""), "t", "a", "", True, b"h" * 32, "m", "1.0", b"d" * 32, b"", 100)
    await store.reserve([Reservation(subject, Driver(b"s" * 16, "g"), Worker("w", 1, "h:1"), 1, 2**41)])
    await store.close()
    return subject.job


async def find(url, job):
    store = await open_jobs(url)
    found = await store.get(job)
    await store.close()
    return found


def test_registry_moves_from_a_file_to_postgres_and_back(tmp_path, server):
    here, there = tmp_path / "registry.db", tmp_path / "again.db"
    before = asyncio.run(fill_registry(here))
    which = ("--which", "registry")
    assert reading("export", tmp_path / "one.jsonl", *which, store=here)["rows"]["policies"] == 3
    assert (tmp_path / "one.jsonl").stat().st_mode & 0o077 == 0
    with database_of(server) as url:
        rows = reading("import", tmp_path / "one.jsonl", *which, store=url)["rows"]
        assert rows == {"tenants": 1, "keys": 1, "models": 1, "policies": 3, "prices": 1}
        assert reading("check", *which, store=url)["violations"] == []
        assert "not empty" in tether("import", tmp_path / "one.jsonl", *which, store=url, code=7 + 1)
        reading("export", tmp_path / "two.jsonl", *which, store=url)
        raised = reading("promote", *which, store=url)["revision"]
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    reading("import", tmp_path / "two.jsonl", *which, store=there)
    after = asyncio.run(snapshot(there))
    assert before.revision < raised < after.revision
    after.revision = before.revision
    assert after == before


@pytest.mark.parametrize("damage", ["cut", "flip", "kind", "columns", "text"])
def test_registry_export_that_is_damaged_is_refused_and_nothing_is_written(tmp_path, damage):
    here = tmp_path / "registry.db"
    asyncio.run(fill_registry(here))
    tether("export", tmp_path / "one.jsonl", "--which", "registry", store=here)
    lines = (tmp_path / "one.jsonl").read_text().splitlines(keepends=True)
    wrong = {
        "cut": lines[:-1],
        "flip": [line.replace('"acme"', '"acne"') for line in lines],
        "kind": [lines[0].replace("registry", "jobs"), *lines[1:]],
        "columns": [line.replace('"display_name"', '"name"') for line in lines],
        "text": ["what is this\n"],
    }[damage]
    (tmp_path / "bad.jsonl").write_text("".join(wrong))
    said = tether("import", tmp_path / "bad.jsonl", "--which", "registry", store=tmp_path / "new.db", code=8)
    assert "STORE_" in said
    assert (
        reading("import", tmp_path / "one.jsonl", "--which", "registry", store=tmp_path / "new.db")["rows"]["keys"] == 1
    )


def test_jobs_move_from_a_file_to_postgres(tmp_path, server):
    here = tmp_path / "jobs.db"
    job = asyncio.run(reserve(here))
    assert reading("check", store=here)["violations"] == []
    reading("export", tmp_path / "jobs.jsonl", store=here)
    with database_of(server) as url:
        assert reading("init", store=url)["fenced"] is False
        assert reading("migrate", store=url)["applied"] == []
        with_id = tmp_path / "other.db"
        reading("import", tmp_path / "jobs.jsonl", store=with_id)
        assert asyncio.run(find(with_id, job)) is not None
        assert reading("promote", "--old", here, store=with_id)["generation"] > 1


def test_promotion_in_place_of_another_store_is_refused_before_that_is_fenced(tmp_path):
    here, other = tmp_path / "jobs.db", tmp_path / "other.db"
    for path in (here, other):
        asyncio.run(reserve(path))
    assert "STORE_UNUSABLE" in tether("promote", "--old", other, store=here, code=8)
    assert reading("init", store=other)["fenced"] is False


def test_store_that_somebody_changed_fails_its_check(tmp_path):
    import sqlite3

    here = tmp_path / "jobs.db"
    asyncio.run(reserve(here))
    connection = sqlite3.connect(here)
    connection.execute("UPDATE accounts SET held_tokens = held_tokens + 1")
    connection.commit()
    connection.close()
    found = reading("check", store=here, code=1)
    assert "t" in " ".join(found["violations"])


def test_store_that_is_not_there_or_no_store_is_said(tmp_path):
    assert "tether store init" in tether("check", store=tmp_path / "none.db", code=8)
    assert "tether store init" in tether("check", "--which", "registry", "--state", tmp_path, code=8)
    (tmp_path / "text.db").write_text("no database at all, and longer than a header of SQLite would be" * 40)
    assert "STORE_" in tether("check", "--which", "registry", store=tmp_path / "text.db", code=7 + 1)
    said = tether("check", store="postgresql://a:secret@127.0.0.1:1/x", code=7)
    assert "secret" not in said
    assert "secret" not in tether("check", store="postgresql://:secret:x", code=8)


@pytest.mark.parametrize("address", ["mysql://u:secret@h/db", "postgresql://u:secret@127.0.0.1:99999999/db"])
def test_address_that_is_none_is_refused_without_its_password(address):
    said = tether("check", store=address, code=8)
    assert "STORE_UNUSABLE" in said
    assert "secret" not in said
