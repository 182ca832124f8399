"""What types can't say of a transfer (contract section 2): the forms of texts, and members that belong together.

The forms are those of the patterns in the schema, checked without regular expressions: these took a third of the time
of decoding, and Python's `$` lets a line break pass behind the text.
"""

from collections.abc import Set as AbstractSet
from string import ascii_uppercase
from typing import Final

from transfer_gate.model.addresses import canonical_domain, is_local_part
from transfer_gate.model.transfer import Transfer

#: Values of `prospect_id` that identify no person: what programs write where they have none.
UNIDENTIFIED_IDS: Final = frozenset(
    {
        "",
        "undefined",
        "null",
        "none",
        "nil",
        "nan",
        "n/a",
        "na",
        "unknown",
        "anonymous",
        "0",
        "-1",
        "[object object]",
    }
)

#: Forms of a country: two capital letters of ASCII, as in ISO 3166-1 alpha-2.
COUNTRIES: Final = frozenset(first + second for first in ascii_uppercase for second in ascii_uppercase)


def fault_in(transfer: Transfer) -> str | None:
    """What is wrong, and where, or None; names fields, never their values."""
    # Each member is read once: that costs more here than what is checked of it.
    contact, subject = transfer.contact, transfer.subject
    country = None if subject is None else subject.country
    if country is not None and country not in COUNTRIES:
        return "subject.country: not two capital letters (ISO 3166-1 alpha-2)"
    if contact is not None:
        email, phone, postal = contact.email, contact.phone, contact.postal
        if email is not None and not is_email(email.value):
            return "contact.email.value: not an e-mail address"
        if phone is not None and not is_phone(phone.value):
            return "contact.phone.value: not a telephone number in E.164"
        country = None if postal is None else postal.country
        if country is not None and country not in COUNTRIES:
            return "contact.postal.country: not two capital letters (ISO 3166-1 alpha-2)"
    channels, partners = transfer.channels, transfer.partner_ids
    if len(channels) > 1 and len(set(channels)) != len(channels):
        return "channels: each channel may stand once"
    if len(partners) > 1 and len(set(partners)) != len(partners):
        return "partner_ids: each partner may stand once"
    if "live_call" in channels and transfer.offer_category is None:
        return "offer_category: required for live_call"
    return None


def is_email(text: str) -> bool:
    """One `@` between a local part and a domain that has a canonical form."""
    local, at, domain = text.partition("@")
    return at != "" and is_local_part(local) and canonical_domain(domain) is not None


def is_unidentified(prospect_id: str, more: AbstractSet[str] = frozenset()) -> bool:
    """Whether the id identifies no person; `more`: further such ids, trimmed and case-folded (contract section 2)."""
    word = _trimmed(prospect_id).casefold()
    return word in UNIDENTIFIED_IDS or word in more


def _trimmed(text: str) -> str:
    """The text without white space at its ends, nor invisible characters (controls, byte order marks)."""
    if text.isprintable():
        return text.strip()
    shown = [place for place, character in enumerate(text) if character.isprintable() and not character.isspace()]
    return text[shown[0] : shown[-1] + 1] if shown else ""


def is_phone(text: str) -> bool:
    """`+` and 2 to 15 digits, the first not 0 (E.164)."""
    return 3 <= len(text) <= 16 and text[0] == "+" and text[1] != "0" and text.isascii() and text[1:].isdecimal()
