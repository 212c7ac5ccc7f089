"""Pages of a list: where one begins, and the token that continues it.

The token names the last item that was returned, so that pages neither repeat nor skip when items come and go.
Source: AIP-158.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TypeVar

from tether.errors import Reason, TetherError
from tether.rules.registry import check_page

SIZE = 100  # where the request says 0
NUMBER_DIGITS_MAX = 18  # below 2^63
T = TypeVar("T")


def start(page_size: int, page_token: str) -> tuple[str, int]:
    """Return after which name a page begins, and how many items it may hold.

    Raises:
        TetherError: INVALID_FIELD.
    """
    check_page(page_size, page_token)
    try:
        after = base64.b64decode(page_token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _foreign() from error
    return after, page_size or SIZE


def cut(found: Sequence[T], size: int, key: Callable[[T], str] = attrgetter("name")) -> tuple[Sequence[T], str]:
    """Return a page and the token of the next one, from a look-up of `size + 1` items.

    Args:
        found: the items, in order.
        size: how many the page may hold.
        key: what `start` will return for the page after an item.
    """
    if len(found) <= size:
        return found, ""
    return found[:size], base64.urlsafe_b64encode(key(found[size - 1]).encode()).decode()


def number(after: str) -> int:
    """Return what `start` returned where pages go by a number; 0 for the first.

    Raises:
        TetherError: INVALID_FIELD.
    """
    if not after:
        return 0
    if not (after.isascii() and after.isdigit() and len(after) <= NUMBER_DIGITS_MAX):
        raise _foreign()
    return int(after)


def _foreign() -> TetherError:
    return TetherError(Reason.INVALID_FIELD, "page_token is none that this service gave.", field="page_token")
