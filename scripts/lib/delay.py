"""delay.py PORT:TARGET_PORT...: forwards TCP connections on this machine, and delays each byte in both directions: by nothing at the
start and after SIGUSR1, by a millisecond after SIGUSR2."""

import asyncio
import signal
import socket
import sys

delay = 0.0


def set_delay(seconds: float) -> None:
    global delay
    delay = seconds


class Way(asyncio.Protocol):
    """One end of a connection: forwards what it receives to the other end."""

    def __init__(self, target: int | None = None):
        self.target, self.other, self.transport, self.early = target, None, None, []

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.target is not None:
            asyncio.ensure_future(self.connect())

    async def connect(self):
        other = Way()
        other.other = self
        try:
            await asyncio.get_running_loop().create_connection(lambda: other, "127.0.0.1", self.target)
        except OSError:
            return self.transport.close()
        self.other = other
        for data in self.early:
            self.hand_on(data)

    def data_received(self, data):
        self.early.append(data) if self.other is None else self.hand_on(data)

    def hand_on(self, data):
        # Callbacks with the same delay run in the order of their calls.
        asyncio.get_running_loop().call_later(delay, self.other.write, data)

    def write(self, data):
        if not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, error):
        if self.other is not None and not self.other.transport.is_closing():
            asyncio.get_running_loop().call_later(delay, self.other.transport.close)


async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, set_delay, 0.0)
    loop.add_signal_handler(signal.SIGUSR2, set_delay, 0.001)
    for pair in sys.argv[1:]:
        port, target = map(int, pair.split(":"))
        await loop.create_server(lambda target=target: Way(target), "127.0.0.1", port)
    await asyncio.Event().wait()


asyncio.run(main())
