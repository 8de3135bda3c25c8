"""A TCP proxy on loopback whose far side can be away, silent or slow: what networks and servers do to us."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from types import TracebackType
from typing import Final, Self

_CHUNK: Final = 64 * 1024
_LOOK_S: Final = 0.05


class Proxy:
    """Passes connections on to `port` while the `with` block runs; they are made anew after each change."""

    def __init__(self, port: int) -> None:
        """`port` of loopback is the far side."""
        self._far = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._refuses = False
        self._delay_s = 0.0
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def away(self) -> None:
        """End all connections, and end new ones at once."""
        self._refuses = True
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result()

    def slow(self, delay_s: float) -> None:
        """Hold every 64 KiB of either direction back for so long."""
        self._delay_s = delay_s

    def well(self) -> None:
        """Be no hindrance any more."""
        self._refuses, self._delay_s = False, 0.0

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._pass, sock=self._listener)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        far_writer = None
        try:
            if self._refuses:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._far)
            self._open.add(far_writer)
            await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            return  # asyncio tells of a handler that ends cancelled as of a fault
        finally:
            for end in filter(None, (writer, far_writer)):
                self._open.discard(end)
                end.transport.abort()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            waited = 0.0
            while waited < self._delay_s:  # `well` ends the waiting, too
                await asyncio.sleep(_LOOK_S)
                waited += _LOOK_S
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
