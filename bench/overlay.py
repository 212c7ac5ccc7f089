"""How fast do nodes find each other? Start, announce, look up, a new worker at a watcher, and record checks.

All nodes run in this one process over real UDP on loopback, so that figures of many nodes hold the work of all of them;
a node of its own process pays its share only. "idle" is the CPU that a network at rest takes, per node.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from _common import best_s, save, spread, table

from tether.overlay.highest import Highest
from tether.overlay.storer import Moment, Storer
from tether.overlay.view import View
from tether.testing.overlay import NOW_S, Mesh, make_record, presence

if TYPE_CHECKING:
    from tether.overlay import Overlay
    from tether.v1 import identity_pb2

TOPIC = "tether/presence/local"
NOW = Moment(NOW_S * 1_000, 0.0)


async def start(mesh: Mesh, count: int) -> list[Overlay]:
    """Nodes that join by the first one, all at once."""
    first = await mesh.node("n0")
    return [first, *await asyncio.gather(*(mesh.node(f"n{i}", bootstrap=[first.address]) for i in range(1, count)))]


async def heard_ms(nodes: list[Overlay], content: identity_pb2.Presence, rounds: int) -> list[float]:
    """From an announcement to the change at a watcher in another node."""
    waits = []
    for number in range(rounds):
        heard = asyncio.Event()
        topic = f"tether/presence/r{number}"
        watch = nodes[1].watch(topic, lambda _, heard=heard: heard.set())
        await asyncio.sleep(0.1)  # leases are there
        begin = time.perf_counter()
        task = asyncio.ensure_future(nodes[-1].announce(topic, content))
        await heard.wait()
        waits.append((time.perf_counter() - begin) * 1e3)
        await (await task).withdraw()
        watch.close()
    return waits


async def network(count: int, rounds: int) -> dict[str, object]:
    """All figures of a network of `count` nodes."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = Mesh(Path(folder))
        for number in range(count):
            mesh.identity(f"n{number}")
        begin = time.perf_counter()
        nodes = await start(mesh, count)
        start_ms = (time.perf_counter() - begin) * 1e3
        contents = [presence(mesh.identity(f"n{i}")) for i in range(count)]
        said = await asyncio.gather(*(node.announce(TOPIC, one) for node, one in zip(nodes, contents, strict=True)))
        announces = []
        for number in range(rounds):
            begin = time.perf_counter()
            announcement = await nodes[0].announce(f"tether/presence/x{number}", contents[0])
            announces.append((time.perf_counter() - begin) * 1e3)
            await announcement.withdraw()
        lookups = []
        for number in range(rounds):
            begin = time.perf_counter()
            await nodes[number % count].lookup(TOPIC)
            lookups.append((time.perf_counter() - begin) * 1e3)
        complete = len(await nodes[-1].lookup(TOPIC)) == len(said)
        heard = await heard_ms(nodes, contents[-1], max(3, rounds // 10))
        idle_begin = (time.process_time(), time.perf_counter())
        await asyncio.sleep(6.0)
        idle = (time.process_time() - idle_begin[0]) / (time.perf_counter() - idle_begin[1]) / count
        refused = {reason: n for node in nodes for reason, n in node.stats["refused"].items()}
        await mesh.close()
    return {
        "nodes": count,
        "start_ms": start_ms,
        "announce_ms_p50": spread(announces)["p50"],
        "announce_ms_p99": spread(announces)["p99"],
        "lookup_ms_p50": spread(lookups)["p50"],
        "lookup_ms_p99": spread(lookups)["p99"],
        "heard_ms_p50": spread(heard)["p50"],
        "idle_cpu_per_node": idle,
        "complete": complete,
        "refused": sum(refused.values()),
    }


def checks(count: int, rounds: int) -> list[dict[str, object]]:
    """Microseconds per record at a storer, at a reader, for a duplicate, and for a forged one."""
    with tempfile.TemporaryDirectory() as folder:
        mesh = Mesh(Path(folder), now_s=NOW_S)
        nodes = [mesh.identity(f"n{number}") for number in range(count)]
        admission = mesh.admission(*nodes)
        raws = [make_record(node, TOPIC, presence(node)) for node in nodes]
        told = [(raw, 0) for raw in raws]
        forged = [bytes(raw[:-1] + bytes([raw[-1] ^ 1])) for raw in raws]

        def store(given: list[bytes]) -> None:
            storer = Storer(admission, Highest())
            for node, raw in zip(nodes, given, strict=True):
                storer.store(node.public_key, [TOPIC, raw], NOW)

        def read(view: View) -> None:
            view.take(view.sift(TOPIC, told, NOW), NOW)

        full = View(admission)
        read(full)
        runs = {
            "storer, one by one": partial(store, raws),
            "storer, forged": partial(store, forged),
            "reader, all at once": lambda: read(View(admission)),
            "reader, duplicates": lambda: read(full),
        }
        each = {name: best_s(run, rounds=rounds) / count * 1e6 for name, run in runs.items()}
    return [{"check": name, "us_each": us, "per_s": 1e6 / us} for name, us in each.items()]


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, nargs="+", default=[5, 30], help="sizes of the network")
    parser.add_argument("--rounds", type=int, default=100, help="announcements and look-ups per size")
    chosen = parser.parse_args()
    networks = [asyncio.run(network(count, chosen.rounds)) for count in chosen.nodes]
    table("Overlay on loopback, all nodes in one process", networks)
    rows = checks(256, 5)
    table("Record checks, 256 records of 256 writers, best of 5", rows)
    save("overlay", {"networks": networks, "checks": rows, "rounds": chosen.rounds})


if __name__ == "__main__":
    main()
