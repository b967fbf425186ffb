"""A bad way to the API server: a TCP proxy on loopback that is slow, and cuts connections at random."""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

CHUNK = 65536
#: The option that has a closed socket reset its connection.
AT_ONCE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Way:
    """Leads to a port of this machine. Each byte takes half the ``delay`` (seconds) in either direction; ``cuts`` is the
    share of connections that end at some moment of their first seconds, by a reset or just so. ``cut`` counts those."""

    target: int
    delay: float = 0.0
    cuts: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(8))
    carried: int = 0
    cut: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end."""
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self.carried += 1
        pumps = asyncio.gather(_pump(reader, far_writer, self.delay / 2), _pump(far_reader, writer, self.delay / 2))
        limit = self.chance.uniform(0.02, 3.0) if self.chance.random() < self.cuts else None
        try:
            await asyncio.wait_for(pumps, limit)
        except TimeoutError:
            self.cut += 1
            reset = self.chance.random() < 0.5
            for each in (writer, far_writer):
                if reset:
                    each.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                each.transport.abort()
        except OSError:
            pass
        finally:
            for each in (writer, far_writer):
                each.close()


@contextlib.contextmanager
def leading_to(way: Way) -> Iterator[int]:
    """Yields the port that the way begins at."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(way.serve, "127.0.0.1", 0), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_end(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Hands on what comes, each piece so much later; the end too."""
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                if writer.can_write_eof():
                    writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        while data := await reader.read(CHUNK):
            await under_way.put((loop.time() + delay, data))
        await under_way.put((loop.time() + delay, b""))
        await delivery
    finally:
        delivery.cancel()
