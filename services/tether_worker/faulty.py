"""A paced engine with faults on order, for tests of failover alone: `--simulate-faults` of a simulated worker.

A prompt that contains a certain text ends the process, fails or hangs; or a share of all attempts fails. What happens
depends on prompt, job and epoch alone, so that a seed tells the same story again.
"""

import hashlib
import os
from collections.abc import Callable
from typing import Any

from tether.errors import Reason, TetherError
from tether_worker.engine.runtime import ChatPrompt, Emitted, GenerationJob, Prompt, TextPrompt
from tether_worker.engine.simulated import Paced, SimulatedRuntime
from tether_worker.fault import Faults

POISON_EXIT = 86  # no status that anything else here ends with


class FaultyRuntime(SimulatedRuntime):
    """A `SimulatedRuntime` with faults.

    Args:
        faults: which.
        die: ends the process with a status; a test listens instead.
        settings: of the simulated engine.
    """

    def __init__(self, faults: Faults, *, die: Callable[[int], Any] = os._exit, **settings: Any) -> None:  # noqa: ANN401
        super().__init__(**settings)
        self._faults = faults
        self._die = die

    def _advance(self, paced: Paced) -> list[Emitted]:
        """One sequence's step, in which what was ordered happens."""
        sequence, faults = paced.sequence, self._faults
        if sequence.reading() or sequence.position.tokens < faults.after_tokens:
            return super()._advance(paced)
        text = _text(sequence.job.prompt)
        if faults.poison_text and faults.poison_text in text:
            self._die(POISON_EXIT)
        if faults.stall_text and faults.stall_text in text:
            paced.due_s = self._beat(paced.due_s)
            return []
        if (faults.fail_text and faults.fail_text in text) or _drawn(sequence.job) < faults.fail_rate:
            return [sequence.failed(TetherError(Reason.ENGINE_FAILED, "the engine failed as it was ordered to"))]
        return super()._advance(paced)


def _text(prompt: Prompt) -> str:
    if isinstance(prompt, TextPrompt):
        return prompt.text
    return "\n".join(turn.text for turn in prompt.turns) if isinstance(prompt, ChatPrompt) else ""


def _drawn(job: GenerationJob) -> float:
    """A number from 0 up to 1 that the attempt's name decides."""
    return int.from_bytes(hashlib.sha256(repr(job.key).encode()).digest()[:7], "little") / 2**56
