"""Prompts to token ids, and token ids to bytes.

Markers such as `<|end|>` are put in by the template alone: in a user's text the same letters are plain text, so a
prompt cannot end its own turn. Bytes of a token come from the byte-level alphabet of GPT-2, which writes each of
the 256 bytes as one printable character.
"""

from pathlib import Path
from typing import Self

from tokenizers import Tokenizer

from tether.errors import Reason, TetherError
from tether_worker.engine.format import TOKENIZER_BYTES_MAX, ChatMarks, DecoderConfig, corrupt, read_limited
from tether_worker.engine.runtime import ChatPrompt, Prompt, TensorPrompt, TextPrompt, TokenPrompt, Turn


def byte_alphabet() -> dict[str, int]:
    """The byte that each character of the byte-level alphabet stands for."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + index): byte for index, byte in enumerate(rest)}


def token_table(tokenizer: Tokenizer, vocab_tokens: int) -> tuple[bytes, ...]:
    """Bytes of every token by id; markers and unused ids have none.

    Raises:
        TetherError: ARTIFACT_CORRUPT when the tokenizer is larger than the model or not byte-level.
    """
    alphabet, table = byte_alphabet(), [b""] * vocab_tokens
    special = set(tokenizer.get_added_tokens_decoder())
    try:
        for text, index in tokenizer.get_vocab(with_added_tokens=True).items():
            table[index] = b"" if index in special else bytes(alphabet[char] for char in text)
    except (KeyError, IndexError) as error:
        raise corrupt("the tokenizer is not byte-level, or larger than the model") from error
    return tuple(table)


class PromptEncoder:
    """Encodes prompts for one model.

    Args:
        tokenizer: the model's tokenizer.
        config: the model's config.

    Attributes:
        table: bytes of every token by id.
    """

    def __init__(self, tokenizer: Tokenizer, config: DecoderConfig) -> None:
        tokenizer.encode_special_tokens = True
        self.table = token_table(tokenizer, config.vocab_tokens)
        self._tokenizer = tokenizer
        self._config = config

    @classmethod
    def load(cls, folder: Path, config: DecoderConfig) -> Self:
        """Reads the folder's tokenizer.

        Raises:
            TetherError: ARTIFACT_CORRUPT.
        """
        raw = read_limited(folder, config.tokenizer, TOKENIZER_BYTES_MAX)
        try:
            return cls(Tokenizer.from_buffer(raw), config)
        except ValueError as error:
            raise corrupt("tokenizer.json cannot be read") from error

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """Turns a prompt into token ids; never empty.

        Raises:
            TetherError: INVALID_FIELD for an unknown role, an empty conversation or a token out of range; UNSUPPORTED
                for tensors.
        """
        if isinstance(prompt, TensorPrompt):
            raise TetherError(Reason.UNSUPPORTED, "This model takes text and chat, no tensors.", field="input.tensors")
        if isinstance(prompt, TokenPrompt):
            return self._checked(prompt.token_ids)
        if isinstance(prompt, ChatPrompt):
            return self._chat(prompt.turns, self._config.chat)
        if self._config.text_is_turn:
            return self._chat((Turn("user", prompt.text),), self._config.chat)
        return (self._marker(self._config.chat.begin), *self._text(prompt))

    def _checked(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        if not ids or not all(0 <= index < self._config.vocab_tokens for index in ids):
            raise TetherError(Reason.INVALID_FIELD, "input has no tokens, or one outside the vocabulary", field="input")
        return ids

    def _chat(self, turns: tuple[Turn, ...], marks: ChatMarks) -> tuple[int, ...]:
        known = marks.roles.keys() | marks.roles_ignored
        unknown = next((turn.role for turn in turns if turn.role not in known), None)
        if unknown is not None:
            raise _bad_chat("has a role that the model does not know")
        kept = [turn for turn in turns if turn.role in marks.roles][-marks.turns_kept_max :]
        if not kept:
            raise _bad_chat("has no turn that the model reads")
        ids = [self._marker(marks.begin)]
        for turn in kept:
            before, after = marks.roles[turn.role]
            ids += [self._marker(before), *self._text(TextPrompt(turn.text)), self._marker(after)]
        return (*ids, self._marker(marks.answer))

    def _text(self, prompt: TextPrompt) -> list[int]:
        return list(self._tokenizer.encode(prompt.text, add_special_tokens=False).ids)

    def _marker(self, name: str) -> int:
        index = self._tokenizer.token_to_id(name)
        if index is None:
            raise corrupt(f"the tokenizer has no marker {name}")
        return int(index)


def _bad_chat(why: str) -> TetherError:
    return TetherError(Reason.INVALID_FIELD, f"input.chat {why}", field="input.chat")
