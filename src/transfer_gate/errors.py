"""Errors a user can meet, each with what to do next and the exit code of contract section 7.

GateError
├── CheckFailed            1  a check (`verify`, `policy test`, `doctor`) did not hold
├── InvalidInput           2  a file, an option or a setting is wrong
├── NothingMatched         3
├── PartiallyFailed        4
├── RefusedByGuard         5
└── BrokerUnavailable      6
"""

from typing import ClassVar


class GateError(Exception):
    """Something a user can cause or fix; shown as one message, never as a traceback.

    Messages hold no personal data: no contact point, attribute or prospect id.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, do: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.do = do

    def __str__(self) -> str:
        return f"{self.message}\n  what to do: {self.do}" if self.do else self.message


class CheckFailed(GateError):
    """A check ran to its end and did not hold."""

    exit_code = 1


class InvalidInput(GateError):
    """A file, an option or a setting is wrong."""

    exit_code = 2


class NothingMatched(GateError):
    """The selection is empty."""

    exit_code = 3


class PartiallyFailed(GateError):
    """Some of the work was done, some was not."""

    exit_code = 4


class RefusedByGuard(GateError):
    """A guard refused; the message names it."""

    exit_code = 5


class BrokerUnavailable(GateError):
    """The Kafka cluster can't be reached or does not answer."""

    exit_code = 6
