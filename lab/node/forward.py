"""The only hole into a lab: 127.0.0.1:PORT of the machine to the API server.

A socket keeps the network namespace it was made in, so the listener, inherited as file descriptor 3, belongs to the
machine, while each new connection belongs to the lab.

`python -m lab.node.forward HOST:PORT TARGET:PORT` forwards any other port, as a load balancer out on the "internet".
"""

import asyncio
import contextlib
import socket
import sys
from functools import partial

from lab.node.spec import API_ADDRESS, API_PORT

LISTENER = 3


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
            return
    writer.close()


async def _serve(host: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(host, port)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
    far_writer.close()
    writer.close()


async def _main(listener: socket.socket, host: str, port: int) -> None:
    server = await asyncio.start_server(partial(_serve, host, port), sock=listener)
    await server.serve_forever()


def _listener_and_target(arguments: list[str]) -> tuple[socket.socket, str, int]:
    if not arguments:
        return socket.socket(fileno=LISTENER), API_ADDRESS, API_PORT
    (here, number), (host, port) = (each.split(":") for each in arguments)
    return socket.create_server((here, int(number))), host, int(port)


if __name__ == "__main__":
    asyncio.run(_main(*_listener_and_target(sys.argv[1:])))
