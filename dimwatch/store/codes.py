"""What ClickHouse's error codes mean for who inserts: it passes, the data is at fault, or the set-up is.

Numbers and names are those of ClickHouse (`system.errors`, `errorCodeToName`); a test holds them to the engine.
"""

from __future__ import annotations

from typing import Final

from dimwatch.errors import DimwatchError, InvalidError, PermanentError, RetryableError

BUSY: Final = {
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    203: "NO_FREE_CONNECTION",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    439: "CANNOT_SCHEDULE_TASK",
    745: "SERVER_OVERLOADED",
    749: "TCP_CONNECTION_LIMIT_REACHED",
    762: "HTTP_CONNECTION_LIMIT_REACHED",
    763: "SESSION_REFUSED",
    1019: "QUERY_SLOT_ACQUISITION_TIMEOUT",
}
"""The statement has not run, or only its connection has failed: worth trying again within the same call."""

RETRYABLE: Final = BUSY | {
    # a connection between servers, or to Keeper
    3: "UNEXPECTED_END_OF_FILE",
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    33: "CANNOT_READ_ALL_DATA",
    86: "RECEIVED_ERROR_FROM_REMOTE_IO_SERVER",
    95: "CANNOT_READ_FROM_SOCKET",
    96: "CANNOT_WRITE_TO_SOCKET",
    198: "DNS_ERROR",
    225: "NO_ZOOKEEPER",
    244: "UNEXPECTED_ZOOKEEPER_ERROR",
    279: "ALL_CONNECTION_TRIES_FAILED",
    297: "SHARD_HAS_NO_CONNECTIONS",
    364: "RECEIVED_ERROR_TOO_MANY_REQUESTS",
    519: "NO_REMOTE_SHARD_AVAILABLE",
    568: "RAFT_ERROR",
    904: "TOO_MANY_UNAVAILABLE_SHARDS",
    999: "KEEPER_EXCEPTION",
    1018: "EXCHANGE_PEER_DISCONNECTED",
    # replicas
    218: "TABLE_IS_DROPPED",
    242: "TABLE_IS_READ_ONLY",
    254: "NO_ACTIVE_REPLICAS",
    265: "NO_AVAILABLE_REPLICA",
    285: "TOO_FEW_LIVE_REPLICAS",
    286: "UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE",
    289: "REPLICA_IS_NOT_IN_QUORUM",
    319: "UNKNOWN_STATUS_OF_INSERT",
    369: "ALL_REPLICAS_ARE_STALE",
    384: "PART_IS_TEMPORARILY_LOCKED",
    415: "ALL_REPLICAS_LOST",
    416: "REPLICA_STATUS_CHANGED",
    473: "DEADLOCK_AVOIDED",
    517: "CANNOT_ASSIGN_ALTER",
    529: "NOT_A_LEADER",
    571: "DATABASE_REPLICATION_FAILED",
    650: "SERIALIZATION_ERROR",
    659: "UNKNOWN_STATUS_OF_TRANSACTION",
    733: "TABLE_IS_BEING_RESTARTED",
    738: "PART_IS_LOCKED",
    # load
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    201: "QUOTA_EXCEEDED",
    216: "QUERY_WITH_SAME_ID_IS_ALREADY_RUNNING",
    236: "ABORTED",
    241: "MEMORY_LIMIT_EXCEEDED",
    252: "TOO_MANY_PARTS",
    290: "LIMIT_EXCEEDED",
    341: "UNFINISHED",
    394: "QUERY_WAS_CANCELLED",
    574: "DISTRIBUTED_TOO_MANY_PENDING_BYTES",
    587: "CONCURRENT_ACCESS_NOT_SUPPORTED",
    677: "THREAD_WAS_CANCELED",
    692: "TOO_MANY_MUTATIONS",
    696: "ASYNC_LOAD_CANCELED",
    722: "ASYNC_LOAD_WAIT_FAILED",
    735: "QUERY_WAS_CANCELLED_BY_CLIENT",
    776: "RESOURCE_LIMIT_EXCEEDED",
    777: "MEMORY_RESERVATION_KILLED",
    778: "MEMORY_RESERVATION_FAILED",
    1017: "ASYNC_INSERT_FLUSH_TIMEOUT",
    1020: "MEMORY_RESERVATION_ACQUISITION_TIMEOUT",
    # the machine: disk, memory, object storage
    74: "CANNOT_READ_FROM_FILE_DESCRIPTOR",
    75: "CANNOT_WRITE_TO_FILE_DESCRIPTOR",
    76: "CANNOT_OPEN_FILE",
    77: "CANNOT_CLOSE_FILE",
    107: "FILE_DOESNT_EXIST",
    172: "CANNOT_CREATE_DIRECTORY",
    173: "CANNOT_ALLOCATE_MEMORY",
    204: "CANNOT_FSYNC",
    214: "CANNOT_STATVFS",
    243: "NOT_ENOUGH_SPACE",
    294: "CANNOT_WRITE_TO_FILE",
    306: "TOO_DEEP_RECURSION",
    400: "CANNOT_STAT",
    411: "PTHREAD_ERROR",
    425: "SYSTEM_ERROR",
    499: "S3_ERROR",
    500: "AZURE_BLOB_STORAGE_ERROR",
    504: "FILE_ALREADY_EXISTS",
    586: "CANNOT_CREATE_FILE",
    641: "CANNOT_APPEND_TO_FILE",
    693: "AWS_ERROR",
    707: "GCP_ERROR",
    737: "GOOGLE_CLOUD_ERROR",
    1016: "TABLE_SIZE_LIMIT_EXCEEDED",
    # accounts: an operator is changing a password; the eventlog holds the rows until then
    192: "UNKNOWN_USER",
    193: "WRONG_PASSWORD",
    194: "REQUIRED_PASSWORD",
    195: "IP_ADDRESS_NOT_ALLOWED",
    516: "AUTHENTICATION_FAILED",
    700: "USER_SESSION_LIMIT_EXCEEDED",
    720: "USER_EXPIRED",
    # what has no better name
    710: "FAULT_INJECTED",
    1000: "POCO_EXCEPTION",
    1001: "STD_EXCEPTION",
    1002: "UNKNOWN_EXCEPTION",
}
"""What waiting mends, or an operator: nothing is wrong with the rows."""

POISON: Final = {
    6: "CANNOT_PARSE_TEXT",
    25: "CANNOT_PARSE_ESCAPE_SEQUENCE",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    108: "NO_DATA_TO_INSERT",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    130: "CANNOT_READ_ARRAY_FROM_TEXT",
    131: "TOO_LARGE_STRING_SIZE",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    248: "INVALID_PARTITION_VALUE",
    307: "TOO_MANY_BYTES",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    395: "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO",
    407: "DECIMAL_OVERFLOW",
    467: "CANNOT_PARSE_BOOL",
    469: "VIOLATED_CONSTRAINT",
    563: "CANNOT_READ_MAP_FROM_TEXT",
    565: "TOO_MANY_PARTITIONS",
    632: "UNEXPECTED_DATA_AFTER_PARSED_VALUE",
    691: "UNKNOWN_ELEMENT_OF_ENUM",
    760: "UNICODE_ERROR",
}
"""These very rows are refused and will be again; others of the same table are not."""

OURS: Final = {
    1: "UNSUPPORTED_METHOD",
    7: "INCORRECT_NUMBER_OF_COLUMNS",
    8: "THERE_IS_NO_COLUMN",
    10: "NOT_FOUND_COLUMN_IN_BLOCK",
    16: "NO_SUCH_COLUMN_IN_TABLE",
    20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
    36: "BAD_ARGUMENTS",
    44: "ILLEGAL_COLUMN",
    46: "UNKNOWN_FUNCTION",
    47: "UNKNOWN_IDENTIFIER",
    48: "NOT_IMPLEMENTED",
    50: "UNKNOWN_TYPE",
    53: "TYPE_MISMATCH",
    60: "UNKNOWN_TABLE",
    62: "SYNTAX_ERROR",
    73: "UNKNOWN_FORMAT",
    81: "UNKNOWN_DATABASE",
    85: "FORMAT_IS_NOT_SUITABLE_FOR_INPUT",
    115: "UNKNOWN_SETTING",
    122: "INCOMPATIBLE_COLUMNS",
    164: "READONLY",
    231: "TOO_MANY_UNEXPECTED_DATA_PARTS",
    253: "REPLICA_ALREADY_EXISTS",
    291: "DATABASE_ACCESS_DENIED",
    342: "METADATA_MISMATCH",
    344: "SUPPORT_IS_DISABLED",
    371: "INCONSISTENT_CLUSTER_DEFINITION",
    392: "QUERY_IS_PROHIBITED",
    446: "FUNCTION_NOT_ALLOWED",
    452: "SETTING_CONSTRAINT_VIOLATION",
    471: "INVALID_SETTING_VALUE",
    472: "READONLY_SETTING",
    497: "ACCESS_DENIED",
    701: "CLUSTER_DOESNT_EXIST",
    774: "TABLE_IS_PERMANENTLY_READ_ONLY",
}
"""The statement, the schema, the grants or the set-up: every record would be refused, so none may be given up."""

ALREADY_THERE: Final = {
    15: "DUPLICATE_COLUMN",
    57: "TABLE_ALREADY_EXISTS",
    58: "TABLE_METADATA_ALREADY_EXISTS",
    82: "DATABASE_ALREADY_EXISTS",
}
"""Somebody else migrates at the same time and was faster, in spite of IF NOT EXISTS."""


class _Coded(DimwatchError):
    """An error that ClickHouse answered with a code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class StoreBusyError(_Coded, RetryableError):
    """The same statement may work later."""


class PoisonError(_Coded, InvalidError):
    """These rows are at fault, or it is a code that is in none of the lists."""


class StoreRefusesError(_Coded, PermanentError):
    """The statement or the set-up is at fault."""


def error_of(code: int, message: str, *, rows: bool = False) -> StoreBusyError | PoisonError | StoreRefusesError:
    """The error to raise for what ClickHouse answered; `rows`: to an insert, so that these may be at fault."""
    if code in RETRYABLE:
        return StoreBusyError(code, f"the store can not do this now: {message}")
    if not rows or code in OURS or code in ALREADY_THERE:
        return StoreRefusesError(code, f"the store refuses this: {message}")
    return PoisonError(code, f"the store refuses these rows: {message}")


def code_of(error: BaseException) -> int | None:
    """ClickHouse's code of an error, of the engine or of a client; None for others."""
    code = getattr(error, "code", None)
    return code if isinstance(code, int) else None
