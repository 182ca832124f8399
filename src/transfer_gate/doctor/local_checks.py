"""Checks of this machine: Python, libraries, settings, registry, disk. No broker."""

import importlib.util
import platform
import re
import shutil
import stat
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from transfer_gate.errors import InvalidInput
from transfer_gate.model.registry import Registry
from transfer_gate.policy.written import is_compiled
from transfer_gate.records.sealing import load_master_keys
from transfer_gate.registry import inspect
from transfer_gate.settings import PREFIX, Settings

Status = Literal["ok", "warn", "FAIL"]


class Finding(Struct, frozen=True):
    """What was looked at, how it is, what was found, and what to do (empty when nothing is to be done)."""

    check: str
    status: Status
    found: str
    do: str = ""


_LIBRARIES: Final = ("faust-streaming", "aiokafka", "msgspec", "orjson", "pydantic")
#: Free space under which a rocksdb state soon can't be written, and under which it is worth a look. Bytes.
_DISK_FAIL: Final = 1 << 30
_DISK_WARN: Final = 5 << 30


def python() -> Finding:
    """The interpreter, and whether the decision needs it."""
    decision = "the decision is compiled" if is_compiled() else "the decision is interpreted, which is slower"
    return Finding("python", "ok", f"{platform.python_implementation()} {platform.python_version()}; {decision}")


def libraries() -> Finding:
    """Versions, against the exact versions that the package requires: the stream relies on their internals."""
    wrong = []
    try:
        pinned = dict(
            re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^\s;,]+)", "\n".join(metadata.requires("transfer-gate") or ()))
        )
    except metadata.PackageNotFoundError:
        pinned = {}
    for name, version in pinned.items():
        found = _version(name)
        if found not in (None, version):
            wrong.append(f"{name} is {found}, must be {version}")
    if wrong:
        return Finding("libraries", "FAIL", "; ".join(wrong), "install as the project says: pip install transfer-gate")
    return Finding("libraries", "ok", ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES))


def settings_in_use(settings: Settings) -> list[Finding]:
    """Whether credentials and personal data travel and lie protected."""
    shown = f"app id {settings.app_id}, topic prefix {settings.topic_prefix or '(none)'}, store {settings.store}"
    findings = [Finding("settings", "ok", shown)]
    if not settings.security_protocol.endswith("SSL") and not settings.brokers_are_local:
        findings.append(
            Finding(
                "encryption",
                "warn",
                f"{settings.security_protocol} to {settings.bootstrap_servers}: personal data travels in clear",
                f"set {PREFIX}SECURITY_PROTOCOL to SSL or SASL_SSL",
            )
        )
    for what, secret in (
        ("password file", settings.sasl_password_file),
        ("client secret", settings.sasl_oauth_client_secret_file),
        ("key file", settings.ssl_keyfile),
    ):
        if secret is not None and secret.exists() and secret.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
            findings.append(Finding(what, "warn", f"{secret} can be read by others", f"chmod 600 {secret}"))
    findings.append(quarantine_key(settings.quarantine_key_file))
    return findings


def quarantine_key(file: Path | None) -> Finding:
    """Whether payloads in quarantine are encrypted, by a key file that only its owner can read."""
    check, new = "quarantine key", "transfer-gate key new --file FILE"
    if file is None:
        return Finding(
            check,
            "warn",
            "payloads in quarantine are not encrypted, and an erasure does not reach them",
            f"{new}, then set {PREFIX}QUARANTINE_KEY_FILE to it for workers and operators",
        )
    try:
        masters = load_master_keys(file)
    except InvalidInput as error:
        return Finding(check, "FAIL", error.message, error.do)
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding(check, "warn", f"{file} is open to others", f"chmod 600 {file}")
    return Finding(check, "ok", f"{file}: {len(masters.ids)} master keys, current {masters.current}")


def registry(folder: Path) -> tuple[Finding, Registry | None]:
    """The reviewed files; the registry itself when they hold no error."""
    check = f"transfer-gate registry check {folder}"
    try:
        inspection = inspect(folder)
    except InvalidInput as error:
        return Finding("registry", "FAIL", error.message, error.do), None
    if inspection.registry is None:
        return Finding("registry", "FAIL", f"{folder}: {len(inspection.errors)} errors", f"see: {check}"), None
    shown = f"{folder}, {len(inspection.registry.partners)} partners, revision {inspection.registry.revision}"
    if inspection.warnings:
        return Finding(
            "registry", "warn", f"{shown}, {len(inspection.warnings)} warnings", f"see: {check}"
        ), inspection.registry
    return Finding("registry", "ok", shown), inspection.registry


def store(settings: Settings) -> list[Finding]:
    """Whether the consent table can be kept where the settings put it."""
    if settings.store == "memory://":
        return [Finding("store", "ok", "the consent table lives in memory")]
    if importlib.util.find_spec("rocksdict") is None:
        return [Finding("store", "FAIL", "rocksdict is not installed", "pip install 'transfer-gate[rocksdb]'")]
    place = settings.data_dir
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    shown = f"{settings.data_dir}: {free / (1 << 30):.1f} GiB free"
    if free < _DISK_FAIL:
        return [Finding("disk", "FAIL", shown, f"make room, or move {PREFIX}DATA_DIR")]
    if free < _DISK_WARN:
        return [Finding("disk", "warn", shown, "a state of 10 million prospects takes some 10 GiB: watch it")]
    return [Finding("disk", "ok", shown)]


def machine(settings: Settings) -> tuple[list[Finding], Registry | None]:
    """All checks of this module, and the registry when it is in order."""
    found, read = registry(settings.registry)
    return [python(), libraries(), *settings_in_use(settings), found, *store(settings)], read


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
