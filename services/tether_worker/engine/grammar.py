"""Forms compiled into grammars: which tokens may come next, so that an answer is JSON of a schema or matches a regex.

llguidance walks an Earley parser over lexemes and asks at each step which tokens of the vocabulary's trie fit; a mask
takes some ten microseconds, and no automaton over the whole vocabulary is built ahead. Its own guess at forced text is
off: then a step's work is bounded by the limits below, and the model chooses its own tokens.
Source: https://github.com/guidance-ai/llguidance (docs/syntax.md, docs/optimizations.md), version 1.9.
"""

import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tether.errors import TetherError
from tether_worker.engine.form import Form, FormKind, schema_invalid

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

GRAMMARS_MAX = 32  # forms kept compiled; the worst take 20 MB each
MESSAGE_CHARS_MAX = 160  # of a library's complaint; it may quote the schema
LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 200_000,  # 4 ms at the library's own 50,000 a millisecond
    "step_lexer_fuel": 50_000,  # 4 ms: a step of one sequence holds up all that run beside it
    "step_max_items": 20_000,  # 1 ms
    "max_lexer_states": 10_000,  # 20 MB at 2 KB each
    "max_grammar_size": 50_000,  # a schema of 64 KiB stays below
    "verbose_errors": False,  # they would quote grammars and answers
}
HEAD = '%llguidance {"no_forcing": true}\n'
# At most one space after a comma or colon and none elsewhere: a small model would go on with white space for ever.
JSON_OPTIONS = {"whitespace_flexible": False, "item_separator": ", ?", "key_separator": ": ?"}


class GrammarBook:
    """Compiles forms for one vocabulary, and keeps what it compiled. Any thread may use it.

    Args:
        table: bytes of every token by id; markers and unused ids have none.
        ends: tokens that end an answer; one or more.
    """

    def __init__(self, table: Sequence[bytes], ends: Collection[int]) -> None:
        self._table, self._ends = table, sorted(ends)
        self._lock = threading.Lock()
        self._kept: OrderedDict[Form, CompiledForm] = OrderedDict()
        self._tokenizer: LLTokenizer | None = None

    def compile(self, form: Form) -> "CompiledForm":
        """The grammar of a form.

        Raises:
            TetherError: SCHEMA_INVALID for text that is no schema or regex, that no answer can satisfy, or that is too
                complex.
        """
        with self._lock:
            found = self._kept.get(form)
            if found is None or found.worn:
                found = self._kept[form] = CompiledForm(partial(self._matcher, lark(form)))
            self._kept.move_to_end(form)
            if len(self._kept) > GRAMMARS_MAX:
                self._kept.popitem(last=False)
        return found

    def _matcher(self, grammar: str) -> "LLMatcher":
        """A matcher at the start of a grammar, its first mask computed."""
        from llguidance import LLMatcher, LLParserLimits  # noqa: PLC0415 - 80 ms that only answers with a form need

        if self._tokenizer is None:
            self._tokenizer = vocabulary(self._table, self._ends)
        matcher = LLMatcher(self._tokenizer, grammar, limits=LLParserLimits(**LIMITS), log_level=0)
        if matcher.is_error():
            raise schema_invalid(f"cannot be used: {complaint(matcher.get_error())}")
        matcher.compute_bitmask()
        if matcher.is_error():
            raise schema_invalid("can be satisfied by no text, or is too complex")
        return matcher


class CompiledForm:
    """A `Grammar`: a matcher that stays at the start.

    Walks copied from it share what they learn of the lexer, up to its limit of states.

    Args:
        make: makes a matcher at the start.

    Attributes:
        worn: whether the limit was reached; to be compiled anew.
    """

    def __init__(self, make: Callable[[], "LLMatcher"]) -> None:
        self.worn = False
        self._make, self._start = make, make()

    def begin(self) -> "Walk":
        """A walk of its own; about a microsecond."""
        return Walk(self._start.deep_copy(), self._anew)

    def _anew(self) -> "LLMatcher":
        self.worn = True
        return self._make()


class Walk:
    """A `Constraint`: a matcher that follows one answer.

    Where the shared lexer is full the walk goes on with one of its own, so that no answer depends on others.

    Args:
        matcher: at the start.
        anew: makes one that shares nothing.
    """

    def __init__(self, matcher: "LLMatcher", anew: Callable[[], "LLMatcher"]) -> None:
        self._matcher, self._taken = matcher, list[int]()
        self._anew: Callable[[], LLMatcher] | None = anew

    @property
    def fault(self) -> TetherError | None:
        """Why no token can follow, where none can."""
        if not self._matcher.is_error():
            return None
        return schema_invalid("has become too complex to go on with, or no token of the model can go on with it")

    def mask(self) -> bytes:
        """One bit per token, lowest bit first."""
        bits = self._matcher.compute_bitmask()
        if not self._matcher.is_error():
            return bits
        return self.mask() if self._renewed() else bytes(len(bits))

    def take(self, token: int) -> bool:
        """Goes on by a token; False where it may not come."""
        if self._matcher.consume_token(token) or (self._renewed() and self._matcher.consume_token(token)):
            self._taken.append(token)
            return True
        return False

    def _renewed(self) -> bool:
        """Walks again from the start by itself; False the second time, or where the way is closed."""
        if self._anew is None:
            return False
        self._matcher, self._anew = self._anew(), None
        return not self._taken or self._matcher.consume_tokens(self._taken)


def vocabulary(table: Sequence[bytes], ends: Sequence[int]) -> "LLTokenizer":
    """The trie of a vocabulary; tokens without bytes never fit into a form, but for the ends."""
    from llguidance import LLTokenizer  # noqa: PLC0415 - as above

    return LLTokenizer(_Vocabulary(table, ends), n_vocab=len(table), eos_token=list(ends))  # type: ignore[arg-type]


class _Vocabulary:
    """What llguidance asks of a tokenizer; it never encodes, because nothing is forced."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, table: Sequence[bytes], ends: Sequence[int]) -> None:
        self.eos_token_id = ends[0]
        self.special_token_ids = [index for index, token in enumerate(table) if not token]
        self.tokens = [token or b"\xff<%d>" % index for index, token in enumerate(table)]

    def __call__(self, text: str | bytes) -> list[int]:
        """Refuse: masks would depend on it."""
        raise NotImplementedError(f"{len(text)} bytes were to be encoded")


def lark(form: Form) -> str:
    """The grammar of a form in llguidance's dialect of Lark.

    Raises:
        TetherError: SCHEMA_INVALID for a schema that is no JSON object.
    """
    if form.kind is FormKind.REGEX:
        return HEAD + _regex(form.text)
    schema = {"type": "object"} if form.kind is FormKind.JSON_OBJECT else _schema(form.text)
    return f"{HEAD}start: %json {json.dumps(schema | {'x-guidance': JSON_OPTIONS})}\n"


def complaint(error: str) -> str:
    """A library's complaint as one short line, without the place in a grammar that its author never saw."""
    line = " ".join(error.split("\n", 1)[0].split())
    return re.sub(r"^at \d+\(\d+\): (failed to compile JSON schema: )?", "", line)[:MESSAGE_CHARS_MAX].rstrip(" .:")


def _regex(text: str) -> str:
    """A rule that matches a regex; the library quotes it, so that no text ends the rule."""
    from llguidance import LLMatcher  # noqa: PLC0415 - as above

    quoted = json.loads(LLMatcher.grammar_from_regex(text))
    return str(quoted["grammars"][0]["lark_grammar"])


def _schema(text: str) -> dict[str, Any]:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise schema_invalid("is no JSON") from error
    if schema is True:
        return {}
    if schema is False:
        raise schema_invalid("can be satisfied by no text")
    if not isinstance(schema, dict):
        raise schema_invalid("is no JSON schema: it must be an object or true")
    return schema
