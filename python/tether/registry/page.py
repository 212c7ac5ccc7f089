"""Pages of a list: where one begins, and the token that continues it.

The token names the last item that was returned, so that pages neither repeat nor skip when items come and go.
Source: AIP-158.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import TypeVar

from tether.errors import Reason, TetherError
from tether.rules.registry import check_page

SIZE = 100  # where the request says 0
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
        text = "page_token is none that this service gave."
        raise TetherError(Reason.INVALID_FIELD, text, field="page_token") from error
    return after, page_size or SIZE


def cut(found: Sequence[T], size: int) -> tuple[Sequence[T], str]:
    """Return a page and the token of the next one, from a look-up of `size + 1` items with a `name`."""
    if len(found) <= size:
        return found, ""
    last: str = getattr(found[size - 1], "name")  # noqa: B009  every message that is listed has a name
    return found[:size], base64.urlsafe_b64encode(last.encode()).decode()
