"""The only hole into a lab: 127.0.0.1:PORT of the machine to the API server.

A socket keeps the network namespace it was made in, so the listener, inherited as file descriptor 3, belongs to the
machine, while each new connection belongs to the lab.
"""

import asyncio
import contextlib
import socket

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


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        far_reader, far_writer = await asyncio.open_connection(API_ADDRESS, API_PORT)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
    far_writer.close()
    writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, sock=socket.socket(fileno=LISTENER))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
