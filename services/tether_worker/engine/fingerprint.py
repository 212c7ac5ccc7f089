"""What decides an engine's outputs, as one hash: equal fingerprints promise bit-equal logits.

Versions and settings are named, but kernels differ between CPU models in ways that no name tells; so the fingerprint
ends with a probe: the hash of the logits of a fixed prompt, computed when the model loads.
"""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
ISA_CLASSES = ("amx_tile", "avx512_bf16", "avx512f", "avx2", "avx", "sve", "asimd")  # best first
PROBE_TOKENS = 48  # longer than one prefill chunk, so that a continued chunk is probed too
SAMPLER = "gumbel-1"


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Everything that decides the outputs of an engine.

    Attributes:
        kind: engine, such as `onnx`.
        version: its version.
        provider: where it runs.
        isa: class of the processor's instruction set, or the device.
        threads: threads inside one operator.
        precision: of weights and arithmetic.
        model: digest of the model's files, hex.
        adapters: digests of adapters in order.
        adapters_applied: how adapters are applied.
        sampler: version of the sampling rule.
        probe: hash of the logits of a fixed prompt, hex.
        chunk_tokens: where prompts are cut; 0 for engines without tokens.
    """

    kind: str
    version: str
    provider: str
    isa: str
    threads: int
    precision: str
    model: str
    adapters: tuple[str, ...]
    adapters_applied: str
    sampler: str
    probe: str
    chunk_tokens: int = 0

    def digest(self) -> bytes:
        """SHA-256 over all fields, 32 bytes."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).digest()


def isa_class(cpuinfo: str, machine: str) -> str:
    """Names the instruction set class.

    Args:
        cpuinfo: text of /proc/cpuinfo, or empty where there is none.
        machine: architecture, such as `x86_64`.
    """
    lines = (line for line in cpuinfo.splitlines() if line.startswith(("flags", "Features")))
    flags = set(next(lines, "").split())
    return f"{machine}/{next((name for name in ISA_CLASSES if name in flags), 'base')}"


def this_isa() -> str:
    """The instruction set class of this machine."""
    return isa_class(CPUINFO.read_text() if CPUINFO.exists() else "", platform.machine())


def probe_tokens(vocab_tokens: int) -> list[int]:
    """The fixed prompt of the probe."""
    return [(index * 7919 + 13) % vocab_tokens for index in range(PROBE_TOKENS)]


def probe_hash(parts: Sequence[bytes]) -> str:
    """SHA-256, in hex, over the bytes of several logits."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
