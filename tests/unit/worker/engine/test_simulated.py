"""The paced engine keeps its times."""

from tether_worker.engine.runtime import GenerationJob, Sampling, TextPrompt
from tether_worker.engine.simulated import PAUSE_S_MAX, SimulatedRuntime


class VirtualTime:
    def __init__(self):
        self.now_s = 0.0
        self.longest_s = 0.0

    def pause(self, seconds):
        self.longest_s = max(self.longest_s, seconds)
        self.now_s += seconds


def test_tokens_come_at_their_times_for_all_slots():
    time = VirtualTime()
    engine = SimulatedRuntime(slots=2, token_ms=20, chunk_ms=5, clock=lambda: time.now_s, pause=time.pause)
    for key in "ab":
        engine.open(GenerationJob(key=key, prompt=TextPrompt("x" * 4 * 40), sampling=Sampling(max_tokens=3)))
    seen = []
    while engine.slots_free < 2:
        seen += [(piece.key, round(time.now_s, 3)) for piece in engine.step()]
    assert seen == [("a", 0.02), ("b", 0.02), ("a", 0.04), ("b", 0.04), ("a", 0.06), ("b", 0.06)]


def test_step_never_sleeps_long():
    time = VirtualTime()
    engine = SimulatedRuntime(token_ms=500, clock=lambda: time.now_s, pause=time.pause)
    engine.open(GenerationJob(key="a", prompt=TextPrompt("x"), sampling=Sampling(max_tokens=1)))
    while engine.slots_free < engine.slots_max:
        engine.step()
    assert time.longest_s <= PAUSE_S_MAX
