"""How every client of Kafka connects, and what its errors mean for a caller."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from kafka import errors
from kafka.net.compat import KafkaNetClient

from dimwatch.errors import (
    BackpressureError,
    DimwatchError,
    InvalidError,
    PermanentError,
    RetryableError,
    TakenOverError,
)
from dimwatch.settings import Kafka

_RETRY_AFTER_S: Final = 5.0
_T = TypeVar("_T")

_CHECK_SIGN_IN: Final = "; check eventlog.kafka.sasl_mechanism, sasl_user and sasl_password"
_CHECK_TLS: Final = "; check eventlog.kafka.security_protocol, tls_ca, tls_cert and tls_key"
_CHECK_REACH: Final = (
    "; check eventlog.kafka.bootstrap_servers, and that the brokers expect this security_protocol, sasl_user and"
    " sasl_password"
)
_FOR_GOOD: Final = {
    "SaslAuthenticationFailed": _CHECK_SIGN_IN,
    "UnsupportedSaslMechanism": _CHECK_SIGN_IN,
    "SSLError": _CHECK_TLS,
    "SSLCertVerificationError": _CHECK_TLS,
    "CERTIFICATE": _CHECK_TLS,
}
_RECENT_S: Final = 20.0

_TOO_BIG: Final = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
_TAKEN_OVER: Final = (
    errors.CommitFailedError,
    errors.FencedInstanceIdError,
    errors.IllegalGenerationError,
    errors.UnknownMemberIdError,
)
_SIGN_IN: Final = (
    errors.IllegalSaslStateError,
    errors.SaslAuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
)
_RETRYABLE: Final = (
    errors.RetriableError,
    errors.BrokerNotAvailableError,
    # Of a late request of its own, after an outage. Whether there is another member, the group says.
    errors.InvalidProducerEpochError,
    errors.ProducerFencedError,
    errors.RebalanceInProgressError,
    errors.TransactionAbortedError,
    OSError,
)


def connection(settings: Kafka, role: str) -> dict[str, Any]:
    """What producers, consumers and admin clients have in common. `role` is for the brokers' logs."""
    _troubles.listen()
    found: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "client_id": f"{settings.client_id}-{role}",
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": _ms(settings.request_timeout_s),
        "bootstrap_timeout_ms": _ms(settings.delivery_timeout_s),
        "reconnect_backoff_max_ms": 1_000,
    }
    if "SASL" in settings.security_protocol and settings.sasl_password is not None:
        found |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_user,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    if "SSL" in settings.security_protocol:
        found |= {
            "ssl_cafile": settings.tls_ca and str(settings.tls_ca),
            "ssl_certfile": settings.tls_cert and str(settings.tls_cert),
            "ssl_keyfile": settings.tls_key and str(settings.tls_key),
        }
    return found


def opened(kind: Callable[..., _T], config: Mapping[str, Any]) -> _T:
    """A client of that kind, connected. One that can not connect leaves nothing behind, as kafka-python by itself would
    (a thread and its sockets, each time)."""
    made: list[KafkaNetClient] = []

    def make(**configs: Any) -> KafkaNetClient:
        made.append(KafkaNetClient(**configs))
        return made[-1]

    try:
        return kind(**config, kafka_client=make)
    except BaseException:
        for client in made:
            client.close()
        raise


def producing(settings: Kafka, role: str) -> dict[str, Any]:
    """What all producers have in common: a record counts when all replicas in sync have it, and once."""
    return connection(settings, role) | {
        # A broker that does not answer is asked again within the time for the whole.
        "request_timeout_ms": _ms(min(settings.request_timeout_s, settings.delivery_timeout_s / 2)),
        "metrics_enabled": False,
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": None if settings.compression == "none" else settings.compression,
        "max_request_size": int(settings.max_message) + OVERHEAD_BYTES,
        "batch_size": 1024 * 1024,
        "retry_backoff_ms": 20,
        "allow_auto_create_topics": False,
        "max_block_ms": _ms(settings.delivery_timeout_s),
        "delivery_timeout_ms": _ms(settings.delivery_timeout_s),
    }


OVERHEAD_BYTES: Final = 1024 * 1024
"""What key and headers of the largest record may take, and what the format adds."""


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


@contextlib.contextmanager
def explained(doing: str, *, sender: bool = False) -> Iterator[None]:
    """Errors of Kafka's client inside the block become ours. With `sender`, it may try again in a while."""
    try:
        yield
    except DimwatchError:
        raise
    except (errors.KafkaError, OSError) as error:
        raise explain(error, doing, sender=sender) from error


def explain(error: Exception, doing: str, *, sender: bool = False) -> DimwatchError:
    """The error of ours that tells the caller what to do about an error of Kafka's client."""
    said = f"Kafka, {doing}: {_text(error)}"
    if isinstance(error, _TOO_BIG):
        return InvalidError(f"{said}; raise eventlog.kafka.max_message, and max.message.bytes of the topic")
    if isinstance(error, errors.InvalidRecordError):
        return InvalidError(said)
    if isinstance(error, _TAKEN_OVER):
        return TakenOverError(f"{said}; another consumer of the group has taken over: stop this one")
    if isinstance(error, _SIGN_IN):
        return PermanentError(said + _CHECK_SIGN_IN)
    if isinstance(error, errors.AuthorizationError):
        return PermanentError(f"{said}; give the user the rights that docs/kafka.md lists")
    if isinstance(error, _RETRYABLE):
        if trouble := _troubles.recent():
            return PermanentError(f"{said}; {trouble}")
        if "bootstrap" in said:
            said += _CHECK_REACH
        if sender:
            return BackpressureError(said, retry_after_s=_RETRY_AFTER_S)
        return RetryableError(said)
    return PermanentError(said)


class _Troubles(logging.Handler):
    """Why connections fail for good: kafka-python only logs it, tries again, and raises a time-out.

    Nothing else that it logs is shown: it tells every reconnect, and of errors it raises what matters.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._last = ""
        self._at = -math.inf

    def listen(self) -> None:
        logger = logging.getLogger("kafka")
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        if self not in logger.handlers:
            logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        remedy = next((remedy for sign, remedy in _FOR_GOOD.items() if sign in text), None)
        if remedy is not None:
            self._last, self._at = f"{text[-300:]}{remedy}", time.monotonic()

    def recent(self) -> str:
        """The last trouble, if it was a moment ago."""
        return self._last if time.monotonic() - self._at < _RECENT_S else ""


_troubles: Final = _Troubles()


def _text(error: Exception) -> str:
    text = str(error)
    return text if type(error).__name__ in text else f"{type(error).__name__} {text}".strip()


def bounded(call: Callable[[], _T], timeout_s: float) -> _T:
    """The result of a call of Kafka's client that knows no time-out of its own. Raises TimeoutError.

    What did not end is left to its thread: close the client that it waits for.
    """
    done = threading.Event()
    results: list[_T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            raised.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="kafka-call", daemon=True).start()
    if not done.wait(timeout_s):
        raise TimeoutError(f"no answer in {timeout_s:g} s")
    if raised:
        raise raised[0]
    return results[0]
