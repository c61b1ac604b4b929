"""Errors of the sandbox, and the answers the real API gives for the client's own."""

from __future__ import annotations


class SandboxError(Exception):
    """Base of all errors raised by the sandbox's Python API."""


class UnknownRecordError(SandboxError):
    """No such entity or record, or a deleted one."""


class UnsuitableEditError(SandboxError):
    """The edit asked for makes no sense for the record, such as voiding a paid invoice."""


class ApiError(SandboxError):
    """An error answer of the API.

    Args:
        status: of HTTP.
        code: Zoho's, in the body.
        message: Zoho's, in the body.
    """

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(f"HTTP {status}, code {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class InvalidValueError(ApiError):
    """Code 2: a parameter's value cannot be read."""

    def __init__(self, parameter: str) -> None:
        super().__init__(400, 2, f"Invalid value passed for {parameter}")
