"""One HTTP request in ClickHouse's terms: what to run, on which data, with which settings."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from dimwatch.store.access import Role
from dimwatch.store.engine import EngineError

MIB: Final = 1 << 20
BODY_LIMIT: Final = {Role.READER: 4 * MIB, Role.WRITER: 256 * MIB}
"""Longest body, compressed or not, as sent."""
DECOMPRESSED_LIMIT: Final = {Role.READER: 4 * MIB, Role.WRITER: 1024 * MIB}
BODY_TIMEOUT_S: Final = 60.0
_READER_LIMITS: Final = {
    "max_execution_time": 60,
    "max_memory_usage": 1024 * MIB,
    "max_threads": os.cpu_count() or 1,
    "max_parser_backtracks": 20_000,  # the parser is not under max_execution_time: nested CASE took it 10 s
}
"""Engine settings that readers may lower and not raise."""
READER_RESULT: Final = 256 * MIB
"""Largest result of a reader in formats that cannot be streamed."""

_TRANSPORT: Final = frozenset({
    "query", "database", "default_format", "user", "password", "session_id", "session_timeout", "session_check",
    "close_session", "query_id", "quota_key", "role", "compress", "decompress", "buffer_size",
    "wait_end_of_query",
    "client_protocol_version", "enable_http_compression", "http_zlib_compression_level", "stacktrace",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms", "add_http_cors_header",
    "cancel_http_readonly_queries_on_client_close", "http_write_exception_in_output_format",
    "http_response_buffer_size", "http_wait_end_of_query", "http_make_head_request",
})  # fmt: skip
"""URL parameters that concern the transport and are no settings of the engine."""

_SETTING: Final = re.compile(r"[a-z][a-z0-9_]{0,127}")
_READER_SETTING: Final = re.compile(
    r"max_\w+|min_\w+|output_format_\w+|date_time_\w+|join_\w+|group_by_\w+|optimize_\w+|use_\w+|enable_\w+|final|"
    r"log_comment|log_queries|priority|timeout_\w+|session_timezone|extremes|totals_\w+|query_plan_\w+|compile_\w+|"
    r"aggregate_\w+|any_join_\w+|cast_\w+|transform_null_in|limit|offset|prefer_\w+|short_circuit_\w+|"
    r"allow_experimental_(analyzer|window_\w+|\w+_type)|do_not_merge_\w+|read_overflow_mode|result_overflow_mode|"
    r"sort_overflow_mode|distinct_overflow_mode|format_csv_\w+|format_tsv_\w+|format_display_\w+|send_logs_level|"
    r"cancel_\w+|network_compression_method|receive_timeout|send_timeout|connect_timeout|empty_result_\w+|describe_\w+|show_table_\w+"
)
"""Settings that readers may give. Others can hold expressions, names of files, or another SQL dialect."""


@dataclass(frozen=True, slots=True)
class Work:
    """A request, read and checked."""

    role: Role
    query: bytes
    body: bytes
    """What came after the query; still compressed as `encoding` says."""
    encoding: str
    parameters: Mapping[str, str]
    """Of the URL, as they came."""
    bound: Mapping[str, str]
    """Values for `{name:Type}` in the query."""
    settings: Mapping[str, str] = field(default_factory=dict)

    def parameter(self, name: str, default: str = "") -> str:
        """A URL parameter."""
        return self.parameters.get(name, default)

    def flag(self, name: str) -> bool:
        """A URL parameter that is on or off."""
        return self.parameters.get(name, "0").lower() in ("1", "true")


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body as sent. Raises EngineError when it is too long, stalls, or is cut short."""
    pieces: list[bytes] = []
    total = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.stream():
                total += len(piece)
                if total > limit:
                    raise EngineError.refusal(
                        307, "TOO_MANY_BYTES", f"The request body is over {limit} bytes: send smaller batches"
                    )
                pieces.append(piece)
    except TimeoutError:
        raise EngineError.refusal(
            209, "SOCKET_TIMEOUT", f"The request was not complete after {BODY_TIMEOUT_S:.0f} s"
        ) from None
    except ClientDisconnect:
        raise EngineError.refusal(210, "NETWORK_ERROR", "The client went away") from None
    return b"".join(pieces)


async def read_work(request: Request, role: Role) -> Work:
    """Read a request of a role. Raises EngineError for what cannot be understood."""
    parameters = dict(request.query_params)
    bound = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
    query = parameters.get("query", "").encode()
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with asyncio.timeout(BODY_TIMEOUT_S):
            form = await _form(request)
        bound |= {name[6:]: value for name, value in form.items() if name.startswith("param_")}
        query += form.get("query", "").encode()
        body = b""
    else:
        body = await read_body(request, BODY_LIMIT[role])
    encoding = "clickhouse" if parameters.get("decompress") == "1" else request.headers.get("content-encoding", "")
    return Work(role, query, body, encoding, parameters, bound, _settings(parameters, role, request.method))


async def _form(request: Request) -> dict[str, str]:
    declared = request.headers.get("content-length", "")
    if not declared.isdigit() or int(declared) > BODY_LIMIT[Role.READER]:
        raise EngineError.refusal(307, "TOO_MANY_BYTES", "A form needs a Content-Length under 4 MiB")
    values: dict[str, str] = {}
    try:
        form = await request.form(max_files=0, max_fields=1000, max_part_size=BODY_LIMIT[Role.READER])
    except (MultiPartException, ClientDisconnect) as error:
        raise EngineError.refusal(36, "BAD_ARGUMENTS", f"The form cannot be read: {error}") from error
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            raise EngineError.refusal(48, "NOT_IMPLEMENTED", "External tables are not supported here")
        values[name] = value
    return values


def _settings(parameters: Mapping[str, str], role: Role, method: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for name, value in parameters.items():
        if name in _TRANSPORT or name.startswith("param_") or name == "readonly":
            continue
        if not _SETTING.fullmatch(name):
            raise EngineError.refusal(115, "UNKNOWN_SETTING", f"Unknown setting {name!r}")
        if role is Role.READER and not _READER_SETTING.fullmatch(name):
            raise EngineError.refusal(164, "READONLY", f"Cannot modify '{name}' setting in readonly mode.")
        settings[name] = value
    if role is Role.READER:
        for name, most in _READER_LIMITS.items():
            settings[name] = _at_most(settings, name, most)
    if role is Role.READER or method == "GET":
        settings["implicit_select"] = "0"
        # The last one: it locks what can be written. Not 1, with which clients take every setting, compression
        # too, for fixed; the guard sees to it that readers give settings in the URL only.
        settings["readonly"] = "2"
    return settings


def _at_most(settings: Mapping[str, str], name: str, most: int) -> str:
    """The given value of a limit, unless it is none or above ours."""
    try:
        given = float(settings.get(name, "0"))
    except ValueError:
        raise EngineError.refusal(27, "CANNOT_PARSE_INPUT_ASSERTION_FAILED", f"{name} must be a number") from None
    return settings[name] if 0 < given <= most else str(most)
