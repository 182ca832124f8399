"""Canonical forms of contact points (contract section 2): what two spellings of one address have in common."""

import unicodedata
from functools import lru_cache
from typing import Final

import idna

#: An empty label, and hyphens where IDNA looks closer.
_NOT_PLAIN: Final = ("..", ".-", "-.", "--")
_MAX_DOMAIN: Final = 253
_MAX_LABEL: Final = 63
#: More characters than this become no A-labels of 253: composition makes one of a few, nothing one of many.
_MAX_WRITTEN: Final = 4 * _MAX_DOMAIN
#: Brackets, comments and separators of lists: an address in one of these is more than an address.
_SPECIAL: Final = frozenset("()<>[],;:")


def canonical_domain(domain: str) -> str | None:
    """The domain in IDNA A-labels (UTS 46, non-transitional, STD3 rules), lower case, without a trailing dot.

    None when it has no such form.
    """
    # Looked for before anything is remembered: what 8,192 records name as their domain would be gigabytes.
    return None if len(domain) > _MAX_WRITTEN else _canonical_domain(domain)


@lru_cache(maxsize=8192)
def _canonical_domain(domain: str) -> str | None:
    if domain.isascii():
        plain = domain.lower().removesuffix(".")
        if _is_plain(plain):
            return plain
    if _has_unseen(domain):
        return None
    try:
        return idna.encode(domain, uts46=True, std3_rules=True, transitional=False).decode().lower().removesuffix(".")
    except (idna.IDNAError, UnicodeError, ValueError, IndexError):
        return None


def canonical_email(address: str) -> str | None:
    """The address with its domain in canonical form, its local part as it stands; None when it has no such form."""
    local, at, domain = address.rpartition("@")
    if not at or not is_local_part(local):
        return None
    canonical = canonical_domain(domain)
    return None if canonical is None else f"{local}@{canonical}"


def stopped_email(address: str) -> str | None:
    """The canonical form by which stops compare addresses: the local part is case-folded, too."""
    canonical = canonical_email(address)
    if canonical is None:
        return None
    local, _, domain = canonical.rpartition("@")
    return f"{local.casefold()}@{domain}"


def is_local_part(local: str) -> bool:
    """Whether the text can stand before the `@` of an address."""
    if _without_dots(local).isalnum() and local.isascii():
        return True  # most are letters and digits, between dots at most
    return local != "" and "@" not in local and _SPECIAL.isdisjoint(local) and not _has_unseen(local)


def _without_dots(local: str) -> str:
    return local.replace(".", "").replace("-", "").replace("_", "")


def _is_plain(domain: str) -> bool:
    """Whether an ASCII domain in lower case consists of letters, digits and single hyphens, so that IDNA has no
    further question.
    """
    framed = f".{domain}."
    return (
        domain.replace("-", "").replace(".", "").isalnum()
        and not any(wrong in framed for wrong in _NOT_PLAIN)
        and len(domain) <= _MAX_DOMAIN
        and (len(domain) <= _MAX_LABEL or max(map(len, domain.split("."))) <= _MAX_LABEL)
    )


def _has_unseen(text: str) -> bool:
    """Whether a control, format or white-space character stands in the text."""
    if text.isascii():
        return " " in text or not text.isprintable()
    return any(character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in text)
