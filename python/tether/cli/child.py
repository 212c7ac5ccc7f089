"""A service as a child process of `tether up`: it may be killed, comes back on request, and dies with its parent.

Run as a module it is the child's own beginning: it asks the kernel for the parent's death (Linux), then is the service.
Source: prctl(2), PR_SET_PDEATHSIG.
"""

import asyncio
import contextlib
import json
import os
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tether.errors import Reason, TetherError

READY_S = 30.0  # a worker that loads the demo model on a loaded machine takes a tenth
_PR_SET_PDEATHSIG = 1


class Child:
    """One service in a process of its own; itself an `App`.

    Args:
        name: such as `worker-1`; what stands before the dash is the service.
        flags: its settings.
        log: file for its standard error.
    """

    def __init__(self, name: str, flags: dict[str, object], log: Path) -> None:
        self.name = name
        self._flags = flags
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._endpoints: dict[str, str] = {}

    @property
    def pid(self) -> int:
        """Process id; 0 while there is none."""
        return 0 if self._process is None else self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; returns once it is ready.

        Raises:
            TetherError: UNREACHABLE with the end of its log, where it ended or was not ready in time.
        """
        service = self.name.partition("-")[0]
        words = [f"--{key.replace('_', '-')}={_word(value)}" for key, value in self._flags.items()]
        with self._log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tether.cli.child", f"tether_{service}", *words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is the parent's to pass on, in the order of its drain
            )
        self._endpoints = await self._ready(self._process)

    async def _ready(self, process: asyncio.subprocess.Process) -> dict[str, str]:
        line = b""
        if process.stdout is not None:
            with contextlib.suppress(TimeoutError):
                line = await asyncio.wait_for(process.stdout.readline(), READY_S)
        try:
            found = json.loads(line)
        except ValueError:
            await self.close()
            tail = self._log.read_text(encoding="utf-8", errors="replace").strip()[-500:]
            raise TetherError(Reason.UNREACHABLE, f"{self.name} did not get ready: {tail}") from None
        return {key: value for key, value in found.items() if isinstance(value, str)}

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._signal(signal.SIGKILL)

    async def revive(self) -> None:
        """Wait for the end of the killed process, and start it again."""
        if self._process is not None:
            await self._process.wait()
        await self.start()

    async def drain(self, grace_s: float) -> None:
        """Ask it to drain, and wait for its end."""
        self._signal(signal.SIGTERM)
        if self._process is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s + 2.0)

    async def close(self) -> None:
        """End it now."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()
            self._process = None

    def endpoints(self) -> dict[str, str]:
        """What it said when it was ready."""
        return {key: value for key, value in self._endpoints.items() if key != "service"}

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


def _word(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)


def main(arguments: Sequence[str]) -> None:
    """Become a service that ends when its parent does."""
    parent = os.getppid()
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    sys.argv = list(arguments)
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
