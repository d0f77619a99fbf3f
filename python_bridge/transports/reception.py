"""Who has connected to a socket and not sent `initialize` yet: bounded in number, time and bytes."""

import asyncio
from typing import Protocol

from python_bridge.errors import BridgeError

GREETING_BYTES = 1024 * 1024
"""Cap of a frame until `initialize` is accepted: a stranger cannot have more than this stored."""
_LAST_LOOK_S = 0.02


class Guest(Protocol):
    """A connection that may not have introduced itself yet."""

    def is_stranger(self) -> bool:
        """Whether no `initialize` of it was accepted, and it is there still."""
        ...

    def dismiss(self, error: BridgeError) -> None:
        """Tell why, and end the connection."""
        ...


class Reception:
    """The strangers of one listening socket.

    Args:
        most: strangers at a time; one more costs the oldest its connection, so that who keeps silent cannot keep others
            out.
        handshake_ms: time that each has.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int, handshake_ms: int) -> None:
        self._loop = loop
        self._most = most
        self._handshake_ms = handshake_ms
        self._guests: list[Guest] = []  # the oldest first

    def enter(self, guest: Guest) -> asyncio.TimerHandle:
        """Take a new connection on; cancel what is returned when it is gone."""
        self._guests = [other for other in self._guests if other.is_stranger()]
        if len(self._guests) >= self._most:
            text = f"{self._most} newer connections have not sent initialize either (max_handshakes)"
            self._guests.pop(0).dismiss(BridgeError("overloaded", f"{text}; send it at once after connecting"))
        self._guests.append(guest)
        return self._loop.call_later(self._handshake_ms / 1000, self._expire, guest)

    def _expire(self, guest: Guest) -> None:
        # A loop that was held up fires its timers before it reads: initialize may lie there.
        self._loop.call_later(_LAST_LOOK_S, self._turn_away, guest)

    def _turn_away(self, guest: Guest) -> None:
        if guest.is_stranger():
            text = f"no initialize that could be accepted came within {self._handshake_ms} ms (handshake_ms)"
            guest.dismiss(BridgeError("timeout", f"{text}; send it at once after connecting"))


__all__ = ["GREETING_BYTES", "Guest", "Reception"]
