"""Prompts become tokens, and no prompt can speak as a marker."""

import pytest

from tether.errors import Reason, TetherError
from tether.testing.tiny_model import BEGIN, END, MARKERS, USER, write_tiny_decoder
from tether_worker.engine.format import read_config
from tether_worker.engine.runtime import ChatPrompt, TextPrompt, TokenPrompt, Turn
from tether_worker.engine.tokenizer import PromptEncoder, byte_alphabet


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> PromptEncoder:
    folder = write_tiny_decoder(tmp_path_factory.mktemp("tiny"))
    return PromptEncoder.load(folder, read_config(folder))


def test_alphabet_covers_all_bytes():
    assert sorted(byte_alphabet().values()) == list(range(256))


def test_text_comes_back_from_its_tokens(encoder):
    text = "Grüße, 世界! \x00\n"
    ids = encoder.encode(TextPrompt(text))
    assert ids[0] == MARKERS.index(BEGIN)
    assert b"".join(encoder.table[index] for index in ids).decode() == text


def test_marker_in_a_users_text_is_plain_text(encoder):
    ids = encoder.encode(TextPrompt(f"a{END}b"))
    assert MARKERS.index(END) not in ids
    assert b"".join(encoder.table[index] for index in ids) == f"a{END}b".encode()


def test_chat_is_framed_by_markers(encoder):
    ids = encoder.encode(ChatPrompt((Turn("user", "x"),)))
    assert [MARKERS[index] if index < len(MARKERS) else "x" for index in ids] == [
        BEGIN,
        USER,
        "x",
        END,
        "<|assistant|>",
    ]


@pytest.mark.parametrize("turns", [(), (Turn("wizard", "x"),)])
def test_chat_that_cannot_be_read_is_refused(encoder, turns):
    with pytest.raises(TetherError) as refused:
        encoder.encode(ChatPrompt(turns))
    assert refused.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("ids", [(), (-1,), (10_000,)])
def test_tokens_outside_the_vocabulary_are_refused(encoder, ids):
    with pytest.raises(TetherError):
        encoder.encode(TokenPrompt(ids))
