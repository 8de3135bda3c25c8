"""The ClickHouse HTTP interface over chDB, for one machine.

What clickhouse-connect, `curl` and Grafana's ClickHouse plug-in use of it: queries in the URL or the body,
bound parameters, formats, settings, inserts with data in the body, compression, streamed results, and errors
as ClickHouse words them. Sessions, external tables and progress headers are not here.
"""

from __future__ import annotations

import json
import secrets
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from typing import Final

import structlog
from anyio import CancelScope
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from dimwatch.settings import Settings
from dimwatch.store import encoding, native, sqltext
from dimwatch.store.access import Access, Role
from dimwatch.store.engine import Engine, EngineError, Result
from dimwatch.store.guard import Guard
from dimwatch.store.request import DECOMPRESSED_LIMIT, READER_RESULT, Work, read_work

_log = structlog.get_logger()

SLOTS: Final = {Role.READER: 12, Role.WRITER: 8}
"""Statements at once, by role, so that readers cannot keep the sink from writing."""
DISPLAY_NAME: Final = "dimwatch"
_STATEMENT_LIMIT: Final = 256 << 10
"""Within these bytes of a body the engine looks for the statement."""

_STREAMED: Final = frozenset(
    {"Native", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "RowBinary", "JSONEachRow"}
)
"""Formats whose blocks can be joined as they come; in others the engine repeats the header for each block."""

_CONTENT_TYPES: Final = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNamesAndTypes": "text/tab-separated-values; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
    "Parquet": "application/octet-stream",
}

_STATUS: Final = (
    dict.fromkeys((194,), 401)
    | dict.fromkeys((164, 192, 193, 497, 516), 403)
    | dict.fromkeys((6, 26, 27, 32, 33, 36, 38, 41, 42, 43, 44, 53, 62, 72, 117, 130, 131, 271, 456, 457, 718), 400)
    | dict.fromkeys((46, 47, 50, 56, 60, 73, 81, 115), 404)
    | dict.fromkeys((159, 209), 408)
    | dict.fromkeys((307, 396), 413)
    | dict.fromkeys((48,), 501)
    | dict.fromkeys((202, 241, 243), 503)
)


@dataclass(slots=True)
class Answer:
    """What goes back: the format that it is in, its pieces, and what the engine counted."""

    output_format: str
    pieces: Iterable[bytes]
    result: Result | None = None


class StoreServer:
    """Runs requests on the engine. `app` is the ASGI application."""

    def __init__(self, settings: Settings, engine: Engine, token: str) -> None:
        self._engine = engine
        self._database = settings.store.database
        self._access = Access(settings, token)
        self._slots = {role: threading.BoundedSemaphore(count) for role, count in SLOTS.items()}
        with engine.session() as session:
            self._guard = Guard(session, self._database)
            self._timezone = session.run("SELECT timezone()").data.decode().strip()
        self.app = Starlette(
            routes=[
                Route("/ping", self._ok, methods=["GET", "HEAD"]),
                Route("/replicas_status", self._ok, methods=["GET", "HEAD"]),
                Route("/", self._query, methods=["GET", "HEAD", "POST"]),
            ],
            exception_handlers={404: _no_handler},
        )

    async def _ok(self, _: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    async def _query(self, request: Request) -> Response:
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        headers = {
            "X-ClickHouse-Server-Display-Name": DISPLAY_NAME,
            "X-ClickHouse-Query-Id": "".join(c for c in query_id if c.isascii() and c.isprintable())[:128],
            "X-ClickHouse-Timezone": self._timezone,
        }
        try:
            role = self._access.role(request.headers, request.query_params)
            work = await read_work(request, role)
            if request.method != "POST" and not work.query and not work.body:
                return PlainTextResponse("Ok.\n", headers=headers)
            return await self._run(work, request.headers.get("accept-encoding", ""), headers)
        except EngineError as error:
            return _failure(error, headers)

    async def _run(self, work: Work, accepted: str, headers: dict[str, str]) -> Response:
        slot = self._slots[work.role]
        if not slot.acquire(blocking=False):
            raise EngineError.refusal(
                202,
                "TOO_MANY_SIMULTANEOUS_QUERIES",
                f"Too many simultaneous queries. Maximum: {SLOTS[work.role]}",
            )
        held = ExitStack()
        held.callback(slot.release)
        try:
            answer = await run_in_threadpool(self._execute, work, held)
        except EngineError as error:
            held.close()
            return _failure(error, headers, framed=work.flag("compress"))
        except BaseException:
            held.close()
            raise
        headers["X-ClickHouse-Format"] = answer.output_format
        headers["X-ClickHouse-Summary"] = _summary(answer.result)
        headers["Content-Type"] = _CONTENT_TYPES.get(answer.output_format, "text/plain; charset=UTF-8")
        pieces = answer.pieces
        failures: list[EngineError] = []
        if answer.result is None:
            tag = headers["X-ClickHouse-Exception-Tag"] = secrets.token_hex(8)
            pieces = _told(pieces, tag, failures)
        if work.flag("compress"):
            pieces = encoding.frames(pieces)
        chosen = encoding.choose(accepted) if work.flag("enable_http_compression") else None
        if chosen:
            headers["Content-Encoding"] = chosen
            pieces = encoding.compress(pieces, chosen)
        return _Pieces(_cut_short(pieces, failures), held, headers)

    def _execute(self, work: Work, held: ExitStack) -> Answer:
        """Run a statement, or start a streamed one; what must live until it is sent is put into `held`."""
        session = held.enter_context(self._engine.session())
        # Clients that know no better ask for `default`, which holds nothing here.
        database = work.parameter("database")
        database = self._database if database in ("", "default") else database
        session.use(database)
        if work.role is Role.WRITER and (insert := _insert(work)) is not None:
            session.set(work.settings)
            return Answer("TabSeparated", (), session.insert(*insert))
        body = b"".join(encoding.decompress(work.body, work.encoding, DECOMPRESSED_LIMIT[Role.READER]))
        text = b"\n".join(part for part in (work.query, body) if part)
        try:
            sql = text.decode()
        except UnicodeDecodeError as error:
            raise EngineError.refusal(62, "SYNTAX_ERROR", f"The query is not UTF-8: {error}") from error
        output_format = sqltext.output_format(text) or work.parameter("default_format", "TabSeparated")
        streamed = _can_stream(text, output_format, work)
        limits = {} if streamed or work.role is Role.WRITER else {"max_result_bytes": str(READER_RESULT)}
        session.set(limits | dict(work.settings))
        if work.role is Role.READER:
            self._guard.check(session, sql, work.bound, database)
        if not streamed:
            result = session.run(sql, output_format, work.bound)
            data = b"".join(_in_revision((result.data,), output_format, work))
            return Answer(output_format, (data,), result)
        blocks = session.stream(sql, output_format, work.bound)
        held.callback(blocks.close)
        pieces = iter(_in_revision(blocks, output_format, work))
        first = next(pieces, b"")  # most errors come with the first block, while the status can still tell them
        return Answer(output_format, chain((first,), pieces))


def _can_stream(sql: bytes, output_format: str, work: Work) -> bool:
    return (
        output_format in _STREAMED
        and sqltext.first_word(sql) in ("SELECT", "WITH")
        and b"TOTALS" not in sql.upper()
        and not (work.flag("wait_end_of_query") and output_format != "Native")
        and not {"extremes", "output_format_json_array_of_rows"} & work.settings.keys()
    )


def _in_revision(blocks: Iterable[bytes], output_format: str, work: Work) -> Iterable[bytes]:
    """Whole blocks in the layout of the client's protocol revision."""
    revision = work.parameter("client_protocol_version", "0")
    newer = revision.isdecimal() and int(revision[:9]) >= native.CUSTOM_SERIALIZATION_REVISION
    return native.with_revision(blocks) if newer and output_format == "Native" else blocks


def _insert(work: Work) -> tuple[str, str, Iterator[bytes]] | None:
    """Statement, format and data of an INSERT with data; None for other statements."""
    data = encoding.decompress(work.body, work.encoding, DECOMPRESSED_LIMIT[Role.WRITER])
    head = work.query
    if not head:
        # The statement is at the start of the body.
        for piece in data:
            head += piece
            if len(head) >= _STATEMENT_LIMIT:
                break
    found = sqltext.split_insert(head)
    return None if found is None else (found.statement, found.input_format, chain((found.data,), data))


def _told(pieces: Iterable[bytes], tag: str, failures: list[EngineError]) -> Iterator[bytes]:
    """Append an error that comes after the status was sent, as servers from 25.11 on do."""
    try:
        yield from pieces
    except EngineError as error:
        failures.append(error)
        message = f"{error}\n".encode()
        marker = f"{tag}\r\n__exception__\r\n".encode()
        yield b"\r\n__exception__\r\n%s\r\n%s%d %s" % (tag.encode(), message, len(message), marker)


def _cut_short(pieces: Iterable[bytes], failures: list[EngineError]) -> Iterator[bytes]:
    """End with the failure, so that the response has no proper end and nobody takes it for whole."""
    yield from pieces
    if failures:
        raise failures[0]


class _Pieces(StreamingResponse):
    """Sends what an iterator gives, which is advanced in threads; gives everything back whatever happens."""

    def __init__(self, pieces: Iterator[bytes], held: ExitStack, headers: Mapping[str, str]) -> None:
        super().__init__(iterate_in_threadpool(pieces), headers=headers)
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except EngineError as error:
            _log.warning("query failed while its result was sent", error=str(error))
            raise
        finally:
            with CancelScope(shield=True):
                await run_in_threadpool(self._held.close)


def _summary(result: Result | None) -> str:
    result = result or Result(b"")
    return json.dumps({
        "read_rows": str(result.read_rows),
        "read_bytes": str(result.read_bytes),
        "written_rows": str(result.written_rows),
        "written_bytes": str(result.written_bytes),
        "total_rows_to_read": "0",
        "result_rows": str(result.written_rows),
        "result_bytes": str(len(result.data) or result.written_bytes),
        "elapsed_ns": str(int(result.elapsed_s * 1e9)),
    })  # fmt: skip


def _failure(error: EngineError, headers: Mapping[str, str], *, framed: bool = False) -> Response:
    extra = {"X-ClickHouse-Exception-Code": str(error.code)}
    status = _STATUS.get(error.code, 500)
    if status == 401:
        extra["WWW-Authenticate"] = 'Basic realm="dimwatch"'
    if status == 503:
        extra["Retry-After"] = "1"
    text = f"{error}\n".encode()
    body = b"".join(encoding.frames((text,))) if framed else text
    return PlainTextResponse(body, status, headers={**headers, **extra})


async def _no_handler(request: Request, _: Exception) -> Response:
    return PlainTextResponse(f"There is no handle {request.url.path}\n\nUse / or /ping for health checks.\n", 404)
