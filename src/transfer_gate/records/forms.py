"""What types can't say of a transfer (contract section 2): the forms of texts, and members that belong together.

The forms are those of the patterns in the schema, told without regular expressions: these took a third of the time of
decoding, and Python's `$` lets a line break pass behind the text.
"""

from collections.abc import Set as AbstractSet
from typing import Final

from transfer_gate.model.addresses import canonical_domain, is_local_part
from transfer_gate.model.transfer import Transfer

#: Values of `prospect_id` that stand for nobody: what programs write where they have none.
NOBODY: Final = frozenset(
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


def fault_in(transfer: Transfer) -> str | None:
    """What is wrong, and where, or None; names fields, never their values."""
    contact, subject = transfer.contact, transfer.subject
    if subject is not None and subject.country is not None and not is_country(subject.country):
        return "subject.country: not two capital letters (ISO 3166-1 alpha-2)"
    if contact is not None:
        if contact.email is not None and not is_email(contact.email.value):
            return "contact.email.value: not an e-mail address"
        if contact.phone is not None and not is_phone(contact.phone.value):
            return "contact.phone.value: not a telephone number in E.164"
        postal = contact.postal
        if postal is not None and postal.country is not None and not is_country(postal.country):
            return "contact.postal.country: not two capital letters (ISO 3166-1 alpha-2)"
    if len(transfer.channels) > 1 and len(set(transfer.channels)) != len(transfer.channels):
        return "channels: each channel may stand once"
    if len(transfer.partner_ids) > 1 and len(set(transfer.partner_ids)) != len(transfer.partner_ids):
        return "partner_ids: each partner may stand once"
    if transfer.offer_category is None and "live_call" in transfer.channels:
        return "offer_category: required for live_call"
    return None


def is_country(text: str) -> bool:
    """Two capital letters of ASCII, as in ISO 3166-1 alpha-2."""
    return len(text) == 2 and text.isascii() and text.isalpha() and text.isupper()


def is_email(text: str) -> bool:
    """One `@` between a local part and a domain that has a canonical form."""
    local, at, domain = text.partition("@")
    return at != "" and is_local_part(local) and canonical_domain(domain) is not None


def is_nobody(prospect_id: str, more: AbstractSet[str] = frozenset()) -> bool:
    """Whether the id stands for nobody; `more` are further such ids, trimmed and case-folded (contract section 2)."""
    word = _trimmed(prospect_id).casefold()
    return word in NOBODY or word in more


def _trimmed(text: str) -> str:
    """The text without white space at its ends, nor characters that nobody sees (controls, byte order marks)."""
    if text.isprintable():
        return text.strip()
    seen = [place for place, character in enumerate(text) if character.isprintable() and not character.isspace()]
    return text[seen[0] : seen[-1] + 1] if seen else ""


def is_phone(text: str) -> bool:
    """`+` and 2 to 15 digits, the first not 0 (E.164)."""
    return 3 <= len(text) <= 16 and text[0] == "+" and text[1] != "0" and text.isascii() and text[1:].isdecimal()
