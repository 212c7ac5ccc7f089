"""Fingerprints tell engines apart that would not give the same bits."""

from dataclasses import replace

from tether.testing.tiny_model import write_tiny_decoder
from tether_worker.engine.fingerprint import Fingerprint, isa_class, probe_hash, probe_tokens
from tether_worker.engine.onnx_decoder import OnnxDecoder

FACTS = Fingerprint("onnx", "1", "CPU", "x86_64/avx2", 1, "f32", "aa", (), "none", "gumbel-1", "bb")


def test_every_fact_changes_the_digest():
    others = [
        replace(FACTS, threads=2), replace(FACTS, probe="cc"), replace(FACTS, isa="x86_64/avx512f"),
        replace(FACTS, adapters=("x",)), replace(FACTS, version="2"),
    ]  # fmt: skip
    assert len({FACTS.digest(), *(other.digest() for other in others)}) == 6


def test_isa_class_is_the_best_one_named():
    assert isa_class("processor: 0\nflags : fpu avx2 avx avx512f", "x86_64") == "x86_64/avx512f"
    assert isa_class("Features : fp asimd", "aarch64") == "aarch64/asimd"
    assert isa_class("", "arm64") == "arm64/base"


def test_probe_prompt_is_fixed_and_inside_the_vocabulary():
    assert probe_tokens(100)[:3] == [13, 32, 51]
    assert max(probe_tokens(100)) < 100
    assert probe_hash([b"a", b"b"]) == probe_hash([b"ab"])


def test_loading_twice_gives_the_same_fingerprint_and_another_model_another(tmp_path):
    one = write_tiny_decoder(tmp_path / "one", seed=1)
    two = write_tiny_decoder(tmp_path / "two", seed=2)
    assert OnnxDecoder(one).fingerprint == OnnxDecoder(one, slots=3).fingerprint
    assert OnnxDecoder(one).facts.probe != OnnxDecoder(two).facts.probe
