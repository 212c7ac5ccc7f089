"""From what a machine wants done to who does it."""

from collections.abc import Callable, Iterable
from typing import Any

Handler = Callable[..., None]


class Dispatch:
    """Handlers by kind of action."""

    __slots__ = ("_handlers",)

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def on(self, kind: str, handler: Handler) -> None:
        """Call `handler` with what follows the kind in such actions."""
        self._handlers[kind] = handler

    def act(self, actions: Iterable[tuple[Any, ...]]) -> None:
        """Perform actions in order; KeyError for a kind without a handler."""
        handlers = self._handlers
        for action in actions:
            handlers[action[0]](*action[1:])
