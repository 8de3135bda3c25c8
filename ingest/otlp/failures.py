"""How a refusal is told to a sender: HTTP status, gRPC code, and a `google.rpc.Status` with the details."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, RetryInfo
from google.rpc.status_pb2 import Status

from dimwatch.errors import BackpressureError, DimwatchError, InvalidError
from ingest.otlp.refusals import TooLargeError, UnauthenticatedError, UnsupportedError

RETRY_AFTER_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer other than OK. `retry_after_s` is None when the sender must not retry."""

    http: int
    grpc: grpc.StatusCode
    reason: str
    message: str
    retry_after_s: float | None = None

    @property
    def retry_after(self) -> str:
        """The value of the Retry-After header: whole seconds."""
        return str(max(1, math.ceil(self.retry_after_s or RETRY_AFTER_S)))

    def status(self) -> Status:
        """The body of the answer."""
        code: int = self.grpc.value[0]
        status = Status(code=code, message=self.message)
        detail = AnyMessage()
        if self.retry_after_s is not None:
            whole = int(self.retry_after_s)
            nanos = int((self.retry_after_s - whole) * 1e9)
            detail.Pack(RetryInfo(retry_delay=Duration(seconds=whole, nanos=nanos)))
            status.details.append(detail)
        elif self.http == 400:
            violation = BadRequest.FieldViolation(field="body", description=self.message)
            detail.Pack(BadRequest(field_violations=[violation]))
            status.details.append(detail)
        return status


def failure_of(error: Exception) -> Failure:
    """The answer for an error. Anything of ours that is not the sender's fault may be retried."""
    code = grpc.StatusCode
    message = str(error)
    match error:
        case TooLargeError():
            return Failure(413, code.RESOURCE_EXHAUSTED, "too_large", message)
        case UnsupportedError():
            return Failure(415, code.UNIMPLEMENTED, "unsupported", message)
        case UnauthenticatedError():
            return Failure(401, code.UNAUTHENTICATED, "unauthenticated", message)
        case InvalidError():
            return Failure(400, code.INVALID_ARGUMENT, "malformed", message)
        case BackpressureError():
            return Failure(429, code.UNAVAILABLE, "backpressure", message, error.retry_after_s)
        case TimeoutError():
            message = "the request did not arrive in time (receiver.request_timeout_s)"
            return Failure(408, code.DEADLINE_EXCEEDED, "too_slow", message)
        case DimwatchError():
            return Failure(503, code.UNAVAILABLE, "unavailable", message, RETRY_AFTER_S)
    return Failure(500, code.INTERNAL, "internal", "Dimwatch failed on this request; its log says why")
