"""Secrets and certificates from the files that settings name. No content is ever repeated in a message."""

import ssl
from pathlib import Path

from transfer_gate.errors import InvalidInput
from transfer_gate.settings import PREFIX


def secret_of(file: Path, name: str) -> str:
    """What a secret's file holds, without the end of its line; `name` is its setting. Raises InvalidInput."""
    try:
        secret = file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{PREFIX}{name} {file} can't be read: {type(error).__name__}", do="check path and rights"
        ) from error
    if not secret:
        raise InvalidInput(f"{PREFIX}{name} {file} is empty", do="write the secret into it")
    return secret


def trusting(cafile: Path | None, name: str) -> ssl.SSLContext:
    """TLS with host names checked (RFC 9525), by the authorities of `cafile`, or the system's; `name` is its setting.

    Raises InvalidInput.
    """
    try:
        return ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise InvalidInput(
            f"{PREFIX}{name} {cafile} can't be used: {error.strerror or error}",
            do="give a PEM file with the certificates of the authorities",
        ) from error
