"""The engine of models without tokens: an ONNX graph that turns tensors into tensors, run again after a failover.

An answer is a row of pieces that are always cut at the same places, so that a second run makes the same bytes and can
be compared with what was accepted of the first. Pieces of several requests share a run only where a probe at load saw
that no bit of a row changes with its mates. One piece leaves per step and request; a request whose reader does not take
them is held and computes nothing.
Source: docs/design/streams.md §4 (RERUN); Crankshaw et al. 2017, "Clipper" (adaptive batching).
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tether.errors import Reason, TetherError
from tether_worker.engine.fingerprint import Fingerprint, probe_hash, this_isa
from tether_worker.engine.form import Form, Grammar, no_forms
from tether_worker.engine.format import corrupt, model_digest, read_limited
from tether_worker.engine.load import check_provider, session_options
from tether_worker.engine.ort import ort
from tether_worker.engine.runtime import (
    Continuity,
    Emitted,
    Finish,
    GenerationJob,
    Opened,
    Phase,
    Position,
    Progress,
    Replayed,
    TensorPrompt,
)
from tether_worker.engine.tensor import Arrays, check_outputs, in_pieces, read_inputs, sample, to_payload
from tether_worker.engine.tensor_format import GRAPH_BYTES_MAX, read_config

CPU = "CPUExecutionProvider"
IDLE_S = 0.005  # how long a step rests while every request is held; a cancel waits as long


@dataclass(eq=False, slots=True)
class Request:
    """A request in the engine.

    Attributes:
        slot: its slot.
        job: as opened.
        inputs: its arrays.
        rows: of a batched model, else 1.
        since_s: when it came.
        row: rows that were run.
        turn: the run that it last took part in.
        sent: bytes of pieces that were handed out.
        ready: pieces that were made and not handed out.
        held: whether its reader takes no more for now.
    """

    slot: int
    job: GenerationJob
    inputs: Arrays
    rows: int
    since_s: float
    row: int = 0
    turn: int = 0
    sent: int = 0
    ready: deque[bytes] = field(default_factory=deque)
    held: bool = False

    @property
    def due(self) -> bool:
        """Whether its next piece must be run."""
        return not self.held and not self.ready and self.row < self.rows

    def give(self) -> Emitted:
        """Hands out its oldest piece."""
        piece, start = self.ready.popleft(), Position(0, self.sent)
        self.sent += len(piece)
        finish = Finish.STOP if not self.ready and self.row >= self.rows else None
        return Emitted(self.slot, self.job.key, start, (), (), b"", finish=finish, payload=piece)

    def failed(self, error: TetherError) -> Emitted:
        """Tells that it cannot be answered."""
        start = Position(0, self.sent)
        return Emitted(self.slot, self.job.key, start, (), (), b"", finish=Finish.FAILED, error=error)


class OnnxTensors:
    """A `ModelRuntime` over a folder as `tensor_format` tells.

    Args:
        folder: the folder.
        slots: requests that are in hand together.
        provider: execution provider; anything but what was asked is refused.
        threads: threads inside one operator; part of the fingerprint.
        clock: monotonic seconds.
        pause: sleeps for seconds.

    Raises:
        TetherError: ARTIFACT_CORRUPT, ENGINE_FAILED.
    """

    def __init__(
        self,
        folder: Path,
        *,
        slots: int = 8,
        provider: str = CPU,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = read_config(folder)
        self._session = _session(read_limited(folder, self.config.graph, GRAPH_BYTES_MAX), provider, threads)
        self._outputs = [spec.name for spec in self.config.outputs]
        self._slots, self._clock, self._pause = slots, clock, pause
        self._requests: dict[int, Request] = {}
        self._turn = 0
        probe, self.shares = self._probe()
        self.facts = Fingerprint(
            kind=self.kind,
            version=ort.__version__,
            provider=provider,
            isa=this_isa(),
            threads=threads,
            precision="as stored",
            model=model_digest(folder, self.config.files),
            adapters=(),
            adapters_applied="none",
            sampler="none",
            probe=probe,
        )

    @property
    def kind(self) -> str:
        """`onnx`."""
        return "onnx"

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 over what decides the outputs, 32 bytes."""
        return self.facts.digest()

    @property
    def continuity(self) -> Continuity:
        """RERUN."""
        return Continuity.RERUN

    @property
    def slots_max(self) -> int:
        """Requests that can be in hand together."""
        return self._slots

    @property
    def slots_free(self) -> int:
        """Requests that `open` would take now."""
        return self._slots - len(self._requests)

    @property
    def context_tokens_max(self) -> int:
        """0: there are no tokens."""
        return 0

    def prepare(self, form: Form) -> Grammar:
        """Refuses: there are no tokens to constrain."""
        raise no_forms()

    def open(self, job: GenerationJob) -> Opened:
        """Admits a request; see `ModelRuntime.open`."""
        if not isinstance(job.prompt, TensorPrompt):
            raise TetherError(Reason.UNSUPPORTED, "This model takes tensors alone.", field="input")
        if job.prefix:
            raise no_prefix()
        slot = next((slot for slot in range(self._slots) if slot not in self._requests), None)
        if slot is None:
            raise TetherError(Reason.OVERLOADED, f"all {self._slots} slots are taken")
        inputs = read_inputs(job.prompt.tensors, self.config)
        rows = max(1, len(next(iter(inputs.values())))) if self.config.batched else 1
        self._requests[slot] = Request(slot, job, inputs, rows, self._clock())
        return Opened(slot, 0, Position())

    def replay(self, job: GenerationJob) -> Replayed:
        """Refuses: there is no prefix to go on from."""
        raise no_prefix()

    def step(self) -> list[Emitted]:
        """Runs what is due together and hands out one piece of every request that is not held."""
        if not self._requests:
            return []
        emitted = self._run(self._due())
        emitted += [one.give() for one in self._requests.values() if one.ready and not one.held]
        if not emitted and all(one.held for one in self._requests.values()):
            self._pause(IDLE_S)
        for piece in emitted:
            if piece.finish is not None:
                self.cancel(piece.slot)
        return emitted

    def cancel(self, slot: int) -> None:
        """Frees a slot before the next step."""
        self._requests.pop(slot, None)

    def hold(self, slot: int, *, held: bool) -> None:
        """Pauses a request or goes on with it."""
        self._requests[slot].held = held

    def progress(self, slot: int) -> Progress:
        """Rows that were run, out of all.

        Raises:
            KeyError: for a free slot.
        """
        request = self._requests[slot]
        return Progress(Phase.RUNNING, request.row, request.rows)

    def close(self) -> None:
        """Gives the session back."""
        self._requests.clear()
        self.__dict__.pop("_session", None)

    def _due(self) -> list[Request]:
        """The requests of the next run, each in its turn; none while it is worth waiting for mates."""
        due = sorted((one for one in self._requests.values() if one.due), key=lambda one: (one.turn, one.since_s))
        share = max(1, self.config.rows_max // self.config.piece_rows) if self.shares else 1
        if not due or len(due) >= share or any(one.row for one in due):
            return due[:share]
        left_s = due[0].since_s + self.config.wait_ms / 1_000 - self._clock()
        if left_s <= 0:
            return due
        self._pause(left_s)
        return []

    def _run(self, due: list[Request]) -> list[Emitted]:
        """Makes the next pieces of some requests; a run that fails is repeated for each alone."""
        if not due:
            return []
        if self.config.step_delay_ms:
            self._pause(self.config.step_delay_ms / 1_000)
        self._turn += 1
        for one in due:
            one.turn = self._turn
        try:
            self._piece(due)
        except Exception as error:  # noqa: BLE001  (onnxruntime's errors share no narrower class)
            if len(due) > 1:
                return [piece for one in due for piece in self._run([one])]
            return [due[0].failed(typed(error))]
        return []

    def _piece(self, due: list[Request]) -> None:
        if not self.config.batched:
            for one in due:
                one.ready.extend(in_pieces(self._call(one.inputs), self.config))
                one.row = one.rows
            return
        count = self.config.piece_rows
        parts = [{name: array[one.row : one.row + count] for name, array in one.inputs.items()} for one in due]
        for one, made in zip(due, self._together(parts), strict=True):
            one.ready.append(to_payload(made, self.config))
            one.row += count

    def _together(self, parts: Sequence[Arrays]) -> list[Arrays]:
        """Runs rows of several requests as one batch."""
        if len(parts) == 1:
            return [self._call(parts[0])]
        whole = self._call({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        ends = np.cumsum([len(next(iter(part.values()))) for part in parts])[:-1]
        split = {name: np.split(array, ends) for name, array in whole.items()}
        return [{name: pieces[index] for name, pieces in split.items()} for index in range(len(parts))]

    def _call(self, inputs: Arrays) -> Arrays:
        return dict(zip(self._outputs, self._session.run(self._outputs, dict(inputs)), strict=True))

    def _probe(self) -> tuple[str, bool]:
        """Runs made-up inputs.

        Returns:
            The hash of the outputs, and whether rows have the same bits alone and among a full batch.
        """
        config, count = self.config, self.config.piece_rows
        try:
            parts = [sample(config.inputs, count, seed) for seed in range(max(1, config.rows_max // count))]
            parts.append(sample(config.inputs, 1, len(parts)))
            made = [self._call(part) for part in parts]
            check_outputs(made[0], config)
            alone = [to_payload(one, config) for one in made]
            shares = config.batched and alone == [to_payload(one, config) for one in self._together(parts)]
        except Exception as error:  # onnxruntime's errors share no narrower class
            raise corrupt("the graph cannot be run as its signature says") from error
        return probe_hash(alone), shares


def typed(error: Exception) -> TetherError:
    """What failed a run, as the contract names it."""
    if isinstance(error, TetherError):
        return error
    failure = TetherError(Reason.ENGINE_FAILED, "the model cannot be run on these tensors")
    failure.__cause__ = error
    return failure


def no_prefix() -> TetherError:
    """An error about going on from tokens where there are none."""
    return TetherError(Reason.UNSUPPORTED, "This model's answers are run again, not gone on with.", field="prefix")


def _session(graph: bytes, provider: str, threads: int) -> Any:  # noqa: ANN401  (onnxruntime has no types)
    if provider not in ort.get_available_providers():
        raise TetherError(Reason.ENGINE_FAILED, f"this onnxruntime has no {provider}")
    try:
        session = ort.InferenceSession(graph, session_options(threads), providers=[provider])
    except Exception as error:  # onnxruntime's errors share no narrower class
        raise corrupt("onnxruntime refuses the graph") from error
    check_provider(provider, session.get_providers())
    return session
