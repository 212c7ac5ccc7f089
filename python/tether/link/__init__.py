"""Links as asyncio shells: hello, one reader and one writer per link, beats, dialling; decisions live in machines.

Gateway, worker and orchestrator share it. A machine is the native `StreamTable` or `ChunkLogs` behind a small adapter,
or `Outbox` where a link carries control alone. Source: docs/design/link.md.
"""

from tether.link.book import LinkBook
from tether.link.dial import Dialler
from tether.link.dispatch import Dispatch
from tether.link.end import Broke, LinkEnd, LinkLimits, Machine
from tether.link.failure import from_failure, outcome_of, to_failure
from tether.link.handshake import Behalf, Handshake, LinkPeer, parse_hello
from tether.link.kind import NO_JOB, Kind
from tether.link.local import LinkEvents, LinkLocal
from tether.link.outbox import Entry, Outbox
from tether.link.serve import LinkServer

__all__ = [
    "NO_JOB",
    "Behalf",
    "Broke",
    "Dialler",
    "Dispatch",
    "Entry",
    "Handshake",
    "Kind",
    "LinkBook",
    "LinkEnd",
    "LinkEvents",
    "LinkLimits",
    "LinkLocal",
    "LinkPeer",
    "LinkServer",
    "Machine",
    "Outbox",
    "from_failure",
    "outcome_of",
    "parse_hello",
    "to_failure",
]
