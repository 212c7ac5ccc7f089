"""The form that an answer must have, and what keeps a sequence to it: the seam to any library of constrained decoding.

A form is compiled once into a grammar; each sequence walks it by itself. Before a token is chosen the walk says which
tokens may come; after it is told which came. A walk holds nothing that its tokens do not tell, so an answer that goes
on elsewhere gets the walk back by feeding it the tokens made so far.
Source: Willard and Louf 2023, "Efficient guided generation for large language models".
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tether.errors import Reason, TetherError

FIELD = "parameters.response_format"


class FormKind(StrEnum):
    """What a form's text is."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    JSON_OBJECT = "json_object"  # without text


@dataclass(frozen=True, slots=True)
class Form:
    """The form that an answer must have.

    Attributes:
        kind: how to read the text.
        text: a schema or a regular expression; empty for any JSON object.
    """

    kind: FormKind
    text: str = ""


class Constraint(Protocol):
    """One sequence's walk through a grammar."""

    @property
    def fault(self) -> TetherError | None:
        """Why no token can follow, where none can."""

    def mask(self) -> bytes:
        """One bit per token, lowest bit first: which may come next. All zero where none can; `fault` says why."""

    def take(self, token: int) -> bool:
        """Goes on by a token; False where it may not come, and nothing may come after."""


class Grammar(Protocol):
    """A compiled form; shared by all sequences that ask for it."""

    def begin(self) -> Constraint:
        """A walk from the start of an answer."""


def schema_invalid(why: str) -> TetherError:
    """An error about a form that cannot be kept."""
    return TetherError(Reason.SCHEMA_INVALID, f"The form of the answer {why}.", field=FIELD)


def no_forms() -> TetherError:
    """An error about a form asked of a model that has no tokens to constrain."""
    return TetherError(Reason.UNSUPPORTED, "This model answers in no form that could be asked for.", field=FIELD)
