"""The gateways that a client may use: one connection at a time, the next one when it fails."""

import asyncio

import grpc
from grpc import aio

from tether.errors import Reason, TetherError
from tether.rpc.channel import open_channel


class Gateways:
    """Addresses and the open channel among them.

    Args:
        addresses: host:port, at least one; tried in this order, round and round.
    """

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self._addresses = addresses
        self._channels: dict[str, aio.Channel] = {}
        self._at = 0

    def __len__(self) -> int:
        return len(self._addresses)

    @property
    def current(self) -> str:
        """Address that is used now."""
        return self._addresses[self._at % len(self._addresses)]

    def channel(self) -> aio.Channel:
        """The channel to the current address; kept, since others may read over it."""
        address = self.current
        if address not in self._channels:
            self._channels[address] = open_channel(address)
        return self._channels[address]

    def failed(self, address: str) -> None:
        """`address` failed a call: the next one is current, unless another caller has moved on already."""
        if address == self.current:
            self._at += 1

    async def wait_ready(self, timeout_s: float) -> None:
        """Return once one of them accepts connections.

        Raises:
            TetherError: DEADLINE where none does in time.
        """
        for address in self._addresses:
            if await _connects(self.channel(), timeout_s / len(self._addresses)):
                return
            self.failed(address)
        raise TetherError(Reason.DEADLINE, f"no gateway answers at {', '.join(self._addresses)}")

    async def close(self) -> None:
        """Close all channels; running calls end."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close(None)


async def _connects(channel: aio.Channel, timeout_s: float) -> bool:
    """Whether `channel` gets ready within `timeout_s` seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
                if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    return False
                await channel.wait_for_state_change(state)
    except TimeoutError:
        return False
    return True
