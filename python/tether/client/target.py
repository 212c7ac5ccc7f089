"""Where a client connects and who it is: arguments, else `TETHER_ADDRESS`, `TETHER_KEY`, else the state folder.

`tether up` leaves `endpoints.json` and `demo.key` in its state folder: on the same machine nothing has to be set.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tether.errors import Reason, TetherError


@dataclass(frozen=True, slots=True)
class Target:
    """One or more gateways and a key.

    Attributes:
        addresses: host:port of gateways, tried in this order; at least one.
        key: API key, sent as `authorization: Bearer`; never shown.
    """

    addresses: tuple[str, ...]
    key: str

    def __repr__(self) -> str:
        return f"Target(addresses={self.addresses!r})"


def default_state(environment: Mapping[str, str]) -> Path:
    """Return the state folder: `TETHER_STATE`, else `tether` under the XDG state folder."""
    if environment.get("TETHER_STATE"):
        return Path(environment["TETHER_STATE"])
    base = environment.get("XDG_STATE_HOME") or str(
        Path(environment.get("HOME", "~")).expanduser() / ".local" / "state"
    )
    return Path(base) / "tether"


def read_endpoints(state: Path) -> dict[str, str]:
    """Return what `endpoints.json` in `state` says, or nothing where there is none.

    Raises:
        TetherError: STATE_UNUSABLE when the file is there and no JSON object of strings.
    """
    path = state / "endpoints.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise TetherError(Reason.STATE_UNUSABLE, f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise TetherError(Reason.STATE_UNUSABLE, f"{path} is no table of addresses")
    return found


def resolve(address: str | None, key: str | None, state: Path | None, environment: Mapping[str, str]) -> Target:
    """Find gateways and key.

    Args:
        address: host:port, several separated by commas, or None.
        key: API key, or None.
        state: state folder of a `tether up`, or None for the default.
        environment: variables of the process.

    Raises:
        TetherError: INVALID_FIELD where no address is known, KEY_MISSING where no key is.
    """
    folder = state or default_state(environment)
    text = address or environment.get("TETHER_ADDRESS") or read_endpoints(folder).get("gateway", "")
    addresses = tuple(part.strip() for part in text.split(",") if part.strip())
    if not addresses:
        message = "no gateway is known: run `tether up`, or set TETHER_ADDRESS to host:port"
        raise TetherError(Reason.INVALID_FIELD, message, field="address")
    for one in addresses:
        host, _, port = one.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()):
            message = f"{one!r} is no address of a gateway: it must be host:port, such as 127.0.0.1:7400"
            raise TetherError(Reason.INVALID_FIELD, message, field="address")
    return Target(addresses, key or environment.get("TETHER_KEY") or _demo_key(folder))


def _demo_key(state: Path) -> str:
    try:
        return (state / "demo.key").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise TetherError(Reason.KEY_MISSING, "no key is known: set TETHER_KEY") from None
    except OSError as error:
        raise TetherError(Reason.STATE_UNUSABLE, f"{state / 'demo.key'} cannot be read: {error}") from error
