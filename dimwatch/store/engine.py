"""chDB, the ClickHouse engine in this process: connections, statements, streams, and its errors.

The engine is one per process and one process per folder, and a forked child of a process that holds it hangs.
Every statement runs on a connection of its own, because a connection carries the current database and the
settings; opening one takes about a millisecond.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from dimwatch.errors import PermanentError

_CODE: Final = re.compile(r"Code: (\d+)\.")
_NAME: Final = re.compile(r"\s*\(([A-Z][A-Z0-9_]+)\)(?: \(version [^)]*\))?\s*$")

UNKNOWN_EXCEPTION: Final = 1002

_ALLOCATOR: Final = "JE_MALLOC_CONF", "dirty_decay_ms:30000,oversize_threshold:0"
"""The engine's own allocator reads it once. What an insert or a merge has freed is kept half a minute for the next,
blocks of 64 MiB and more too: given back sooner, the next takes a page fault for every 4 kB of it."""


class EngineError(Exception):
    """A statement failed; `code` and `name` are ClickHouse's, the message reads like a server's."""

    def __init__(self, code: int, message: str, name: str = "UNKNOWN_EXCEPTION") -> None:
        super().__init__(message)
        self.code = code
        self.name = name

    @classmethod
    def from_engine(cls, text: str) -> EngineError:
        """Understand what the engine raised."""
        text = text.strip()
        start = text.find("Code: ")
        text = text[start:] if start >= 0 else f"Code: {UNKNOWN_EXCEPTION}. DB::Exception: {text}"
        code, name = _CODE.match(text), _NAME.search(text)
        return cls(int(code[1]) if code else UNKNOWN_EXCEPTION, text, name[1] if name else "UNKNOWN_EXCEPTION")

    @classmethod
    def refusal(cls, code: int, name: str, reason: str) -> EngineError:
        """An error of ours in ClickHouse's words."""
        return cls(code, f"Code: {code}. DB::Exception: {reason} ({name})", name)


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        raise EngineError.from_engine(str(error)) from error
    except UnicodeDecodeError as error:  # the message itself, when it quotes bytes of the statement or the data
        raise EngineError.from_engine(error.object.decode(errors="replace")) from error


@dataclass(frozen=True, slots=True)
class Result:
    """What a finished statement gave."""

    data: bytes
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_s: float = 0.0


def quote_identifier(name: str) -> str:
    """A name as SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def quote_string(value: str) -> str:
    """A text as an SQL literal."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class Session:
    """One connection. Not safe to share between threads; only one statement at a time."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def use(self, database: str) -> None:
        """Make `database` the one that unqualified names are looked up in."""
        self.run(f"USE {quote_identifier(database)}")

    def set(self, settings: Mapping[str, str]) -> None:
        """Set engine settings for the rest of the session. Names must be checked identifiers."""
        if settings:
            self.run("SET " + ", ".join(f"{name} = {quote_string(v)}" for name, v in settings.items()))

    def run(self, sql: str, output_format: str = "TabSeparated", params: Mapping[str, str] | None = None) -> Result:
        """Run one statement to its end. `params` are bound to `{name:Type}`. Raises EngineError."""
        with _engine_errors():
            result = self._raw.query(sql, output_format, params=dict(params or {}))
            return Result(
                bytes(result.bytes() or b""),
                result.storage_rows_read(),
                result.storage_bytes_read(),
                result.rows_written(),
                result.bytes_written(),
                result.elapsed(),
            )

    def stream(self, sql: str, output_format: str, params: Mapping[str, str]) -> Generator[bytes, None, None]:
        """Run a query and yield its result block by block, in formats whose blocks can be joined.

        Leaving the iterator early cancels the query. Raises EngineError, possibly after some blocks.
        """
        with _engine_errors():
            handle = self._raw.send_query(sql, output_format, params=dict(params))
        done = False
        try:
            while True:
                with _engine_errors():
                    chunk = self._raw.streaming_fetch_result(handle)
                    if chunk is None or chunk.rows_read() == 0:
                        done = True
                        return
                    data = bytes(chunk.bytes())
                yield data
        except EngineError:
            done = True
            raise
        finally:
            if not done:
                self._raw.streaming_cancel_query(handle)

    def insert(self, statement: str, input_format: str, chunks: Iterable[bytes]) -> Result:
        """Run `statement` (an INSERT up to its FORMAT clause) over data. Raises EngineError."""
        with _engine_errors():
            handle = self._raw.send_insert(statement, input_format)
        try:
            for chunk in chunks:
                with _engine_errors():
                    self._raw.insert_append(handle, chunk)
        except EngineError:
            raise  # the engine has ended the insert by itself
        except BaseException:
            self._raw.insert_cancel(handle)
            raise
        with _engine_errors():
            done = self._raw.insert_done(handle)
            return Result(
                b"",
                written_rows=done.rows_written(),
                written_bytes=done.bytes_written(),
                elapsed_s=done.elapsed(),
            )

    def only_reads(self, sql: str) -> bool:
        """Whether the engine's own parser sees exactly one statement, and that it changes nothing."""
        with _engine_errors():
            verdict = self._raw.classify_query(sql)
        return bool(verdict["query_class"].name == "READ_ONLY" and verdict["statement_count"] == 1)

    def close(self) -> None:
        """Give the connection back."""
        self._raw.close()


class Engine:
    """The engine over one folder. Safe to share between threads; sessions are not."""

    def __init__(self, path: Path, max_memory_bytes: int) -> None:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)  # it holds what people said to agents
        os.environ.setdefault(*_ALLOCATOR)
        native = import_module("chdb._chdb")
        self._connect: Callable[[str], Any] = native.connect
        self._dsn = (
            f"{quote(str(path.resolve()))}?max_server_memory_usage={max_memory_bytes}"
            f"&mark_cache_size={256 << 20}&uncompressed_cache_size=0"
        )
        self._lock = threading.Lock()
        try:
            # Held open: the engine stops with its last connection.
            self._keeper = self._connect(self._dsn)
        except RuntimeError as error:
            raise PermanentError(
                f"the store in {path} cannot be opened (is another process using it?): {error}"
            ) from error

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A fresh connection, closed at the end of the block."""
        with self._lock, _engine_errors():
            raw = self._connect(self._dsn)
        session = Session(raw)
        try:
            yield session
        finally:
            session.close()

    def close(self) -> None:
        """Stop the engine. Sessions must be closed before."""
        self._keeper.close()
