"""The four kinds of error. A caller decides by kind; the message is for people and names the remedy."""

from __future__ import annotations


class DimwatchError(Exception):
    """Base of every error that Dimwatch raises on purpose."""


class InvalidError(DimwatchError):
    """The input is wrong and will be wrong again: reject it or put it on the dead-letter topic."""


class RetryableError(DimwatchError):
    """The same call may succeed later (a lock, a connection, a full disk)."""


class BackpressureError(RetryableError):
    """A queue or a disk is full: the sender should wait `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(DimwatchError):
    """The call can not succeed without a change of set-up: stop and say so."""


class TakenOverError(PermanentError):
    """This member of a consumer group can not go on, but a new one can, from where the group is: start again."""
