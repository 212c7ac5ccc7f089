"""The exact engine: a decoder on onnxruntime's CPU provider with continuous batching.

Every step feeds one token to all sequences that generate, in one call, then a few pieces to those that still read
their prompt, each alone. Sequences join and leave between steps. Rows of f32 products over packed weights do not see
each other, prompts are cut at fixed places and prefixes are replayed token by token: so the logits of a sequence are
the same bits for any batch mates, row and moment of joining, and after a resume. The conformance suite proves it.
Source: G. Yu et al. 2022, "Orca" (iteration-level scheduling).
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tether.errors import Reason, TetherError
from tether_worker.engine.fingerprint import SAMPLER, Fingerprint, probe_hash, probe_tokens, this_isa
from tether_worker.engine.form import Form, Grammar, no_forms
from tether_worker.engine.format import model_digest, read_config
from tether_worker.engine.grammar import GrammarBook
from tether_worker.engine.ort import ort
from tether_worker.engine.replay import replay
from tether_worker.engine.runtime import (
    Continuity,
    Emitted,
    GenerationJob,
    Opened,
    Progress,
    Replayed,
    check_sampling,
)
from tether_worker.engine.sampling import choose, logprob
from tether_worker.engine.sequence import RunningSequence
from tether_worker.engine.session import DecoderSession, Logits
from tether_worker.engine.tokenizer import PromptEncoder

CPU = "CPUExecutionProvider"
SLOTS_DEFAULT = 8  # eight streams together are 3.3 to 3.8 times eight alone; beyond, each stream slows down
CHUNKS_PER_STEP = 2  # prompt chunks of 32 tokens cost about 2 ms each: the most a running stream is held up
REPLAYED_PER_CHUNK = 8  # replayed tokens that cost about as much as one chunk


class OnnxDecoder:
    """A `ModelRuntime` over a decoder folder.

    Args:
        folder: the decoder folder.
        slots: sequences that run together.
        provider: execution provider; anything but what was asked is refused.
        threads: threads inside one operator; part of the fingerprint.
        chunk_tokens: where prompts are cut, in place of the folder's own; part of the fingerprint. 0 for the folder's.
        pause: sleeps for seconds; used only by folders that ask for a delay per step.

    Raises:
        TetherError: ARTIFACT_CORRUPT, ENGINE_FAILED.
    """

    def __init__(
        self,
        folder: Path,
        *,
        slots: int = SLOTS_DEFAULT,
        provider: str = CPU,
        threads: int = 1,
        chunk_tokens: int = 0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        config = read_config(folder)
        self.config = replace(config, prefill_chunk_tokens=chunk_tokens or config.prefill_chunk_tokens)
        self.encoder = PromptEncoder.load(folder, self.config)
        self._session = DecoderSession(folder, self.config, slots, provider, threads)
        self._slots = slots
        self._grammars = GrammarBook(self.encoder.table, self.config.end_tokens)
        self._rows: list[RunningSequence] = []  # by row of the cache: those that generate, then those that read
        self._opened = 0
        self._pause = pause
        probe, self._exact = self._probe()
        self.facts = Fingerprint(
            kind=self.kind,
            version=ort.__version__,
            provider=provider,
            isa=this_isa(),
            threads=threads,
            precision=self.config.precision,
            model=model_digest(folder, self.config.files),
            adapters=(),
            adapters_applied="none",
            sampler=SAMPLER,
            probe=probe,
            chunk_tokens=self.config.prefill_chunk_tokens,
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
        """EXACT, unless the probe saw a row change with its batch mates: then COHERENT."""
        return Continuity.EXACT if self._exact else Continuity.COHERENT

    @property
    def slots_max(self) -> int:
        """Sequences that can run together."""
        return self._slots

    @property
    def slots_free(self) -> int:
        """Sequences that `open` would take now."""
        return self._slots - len(self._rows)

    @property
    def context_tokens_max(self) -> int:
        """Most tokens of prompt and answer together."""
        return self.config.context_tokens_max

    @property
    def memory_bytes(self) -> int:
        """Memory of weights as f32 and cache."""
        sizes = (4 * _product(entry.shape) for entry in self.config.tensors)
        return sum(sizes) + self._session.cache_bytes

    def prepare(self, form: Form) -> Grammar:
        """Compiles a form; see `ModelRuntime.prepare`."""
        if not self.config.end_tokens:
            raise no_forms()
        return self._grammars.compile(form)

    def open(self, job: GenerationJob) -> Opened:
        """Admits a sequence; see `ModelRuntime.open`."""
        check_sampling(job.sampling)
        if job.form is not None and job.grammar is None:
            job = replace(job, grammar=self.prepare(job.form))
        prompt = self.encoder.encode(job.prompt)
        slot = self._free_slot()
        sequence = RunningSequence(slot, job, prompt, self.config.prefill_chunk_tokens, self.config.context_tokens_max)
        sequence.replay(self.encoder.table, self.config.end_tokens)
        self._opened += 1
        sequence.number = self._opened
        self._rows.append(sequence)
        return Opened(slot, len(prompt), sequence.position)

    def replay(self, job: GenerationJob) -> Replayed:
        """What a prefix comes to; see `ModelRuntime.replay`."""
        config, prompt = self.config, self.encoder.encode(job.prompt)
        return replay(job, len(prompt), self.encoder.table, config.end_tokens, config.context_tokens_max)

    def step(self) -> list[Emitted]:
        """Advances every sequence; see `ModelRuntime.step`."""
        if not self._rows:
            return []
        if self.config.step_delay_ms:
            self._pause(self.config.step_delay_ms / 1000)
        emitted = self._decode() + self._read()
        for piece in emitted:
            if piece.finish is not None:
                self.cancel(piece.slot)
        return emitted

    def cancel(self, slot: int) -> None:
        """Frees a slot before the next step."""
        row = next((index for index, sequence in enumerate(self._rows) if sequence.slot == slot), None)
        if row is None:
            return
        generating = sum(not sequence.reading() for sequence in self._rows)
        if row < generating:
            row = self._fill(row, generating - 1)
        self._fill(row, len(self._rows) - 1)
        self._rows.pop()

    def hold(self, slot: int, *, held: bool) -> None:
        """Text is small: it goes on into the log in any case."""

    def progress(self, slot: int) -> Progress:
        """How far a sequence is.

        Raises:
            KeyError: for a free slot.
        """
        for sequence in self._rows:
            if sequence.slot == slot:
                return sequence.progress()
        raise KeyError(slot)

    def close(self) -> None:
        """Gives session and cache back."""
        self._rows.clear()
        self.__dict__.pop("_session", None)

    def _free_slot(self) -> int:
        taken = {sequence.slot for sequence in self._rows}
        slot = next((slot for slot in range(self._slots) if slot not in taken), None)
        if slot is None:
            raise TetherError(Reason.OVERLOADED, f"all {self._slots} slots are taken")
        return slot

    def _fill(self, hole: int, source: int) -> int:
        """Moves a row's sequence into a row that is free; returns the row that is free then."""
        if hole != source:
            self._session.move(source, hole, self._rows[source].fed)
            self._rows[hole] = self._rows[source]
        return source

    def _swap(self, one: int, other: int) -> None:
        """Exchanges the sequences of two rows."""
        if one != other:
            mine, theirs = self._rows[one], self._rows[other]
            self._session.swap(one, other, max(mine.fed, theirs.fed))
            self._rows[one], self._rows[other] = theirs, mine

    def _decode(self) -> list[Emitted]:
        """Feeds the last token of every generating sequence and chooses the next."""
        rows = [sequence for sequence in self._rows if not sequence.reading()]
        if not rows:
            return []
        logits = self._session.decode([row.last for row in rows], [row.fed for row in rows])
        for row in rows:
            row.fed += 1
        return self._choose(logits, rows)

    def _read(self) -> list[Emitted]:
        """Feeds pieces of prompts and prefixes, oldest sequence first, and chooses first tokens."""
        emitted: list[Emitted] = []
        budget = float(CHUNKS_PER_STEP)
        for sequence in sorted((row for row in self._rows if row.reading()), key=lambda row: row.number):
            while budget > 0 and sequence.reading():
                row, piece = self._rows.index(sequence), sequence.plan.popleft()
                logits = self._session.feed(row, piece, sequence.fed)
                sequence.fed += len(piece)
                budget -= 1 if len(piece) > 1 else 1 / REPLAYED_PER_CHUNK
                if not sequence.reading():
                    self._swap(row, sum(not other.reading() for other in self._rows) - 1)
                    emitted += self._choose(logits, [sequence])
        return emitted

    def _choose(self, logits: Logits, rows: list[RunningSequence]) -> list[Emitted]:
        """Chooses a token for each row of logits."""
        chosen = choose(logits, [row.row for row in rows])
        return [self._take(logits[index], row, chosen[index]) for index, row in enumerate(rows)]

    def _take(self, logits: Logits, row: RunningSequence, token: int) -> Emitted:
        if token < 0:
            return row.failed(row.fault())
        table, asked = self.encoder.table, row.job.sampling.logprobs
        given = None if asked is None else logprob(logits, token, asked, table, row.row.allowed)
        return row.take(token, table, self.config.end_tokens, given)

    def _probe(self) -> tuple[str, bool]:
        """Runs a fixed prompt.

        Returns:
            The hash of its logits, and whether a row of a full batch had the bits of the same row alone.
        """
        tokens, chunk = probe_tokens(self.config.vocab_tokens), self.config.prefill_chunk_tokens
        cuts = range(0, len(tokens), chunk)
        parts = [self._session.feed(0, tokens[cut : cut + chunk], cut).tobytes() for cut in cuts]
        parts.append(self._session.decode([tokens[0]], [len(tokens)]).tobytes())
        others = self._slots - 1
        full = self._session.decode([tokens[0]] * (1 + others), [len(tokens)] + [0] * others)
        return probe_hash(parts), full[0].tobytes() == parts[-1]


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total
