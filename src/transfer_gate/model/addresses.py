"""Canonical forms of contact points (contract section 2): what two spellings of one address have in common."""

import unicodedata
from functools import lru_cache
from typing import Final

import idna

_LDH: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_MAX_DOMAIN: Final = 253
_MAX_LABEL: Final = 63
#: Brackets, comments and separators of lists: an address in one of these is more than an address.
_SPECIAL: Final = frozenset("()<>[],;:")


@lru_cache(maxsize=8192)
def canonical_domain(domain: str) -> str | None:
    """The domain in IDNA A-labels (UTS 46, non-transitional, STD3 rules), lower case, without a trailing dot.

    None when it has no such form.
    """
    if domain.isascii():
        plain = domain.lower().removesuffix(".")
        labels = plain.split(".")
        if len(plain) <= _MAX_DOMAIN and all(_is_plain(label) for label in labels):
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
    if local.isascii() and local.isalnum():
        return True
    return local != "" and "@" not in local and _SPECIAL.isdisjoint(local) and not _has_unseen(local)


def _is_plain(label: str) -> bool:
    """Letters, digits and hyphens where IDNA asks no further question."""
    return (
        0 < len(label) <= _MAX_LABEL
        and _LDH.issuperset(label)
        and label[0] != "-"
        and label[-1] != "-"
        and label[2:4] != "--"
    )


def _has_unseen(text: str) -> bool:
    """Whether a control, format or white-space character stands in the text."""
    return any(character.isspace() or unicodedata.category(character) in ("Cc", "Cf", "Cs") for character in text)
