"""The marked space of invented people: the only ones that a partner on rehearsal receives.

This is the one place that says what the mark is. A prospect is invented when the `prospect_id` begins with `INVENTED`,
and every contact point of the transfer is reserved: an address in a domain for documentation (RFC 2606, RFC 6761), a
number for fiction (Arcep, decision 2018-0881), a postal address whose first line is `SPECIMEN`. The points are looked
at, too, because a real person under a marked id must not go out.
"""

from typing import Final

from transfer_gate.model.transfer import Transfer

#: What the id of every invented prospect begins with; upper and lower case differ.
INVENTED: Final = "tg-invented-"
#: First line of the postal address of an invented prospect.
SPECIMEN: Final = "SPECIMEN"
DOMAINS: Final = frozenset({"example.org", "example.com", "example.net"})
TOP_LEVEL: Final = (".example", ".test", ".invalid")
#: Mobile and land-line numbers for audiovisual works, without their last four digits.
NUMBERS: Final = ("+3363998", "+3319900", "+3326191", "+3335301", "+3346571", "+3353649")
_DIGITS: Final = len("+33639980000")


def is_invented(transfer: Transfer) -> bool:
    """Whether the transfer is about an invented person, by its id and all its contact points."""
    contact = transfer.contact
    if not transfer.prospect_id.startswith(INVENTED):
        return False
    if contact is None:
        return True
    return (
        (contact.email is None or is_reserved_address(contact.email.value))
        and (contact.phone is None or is_reserved_number(contact.phone.value))
        and (contact.postal is None or contact.postal.lines[0] == SPECIMEN)
    )


def is_reserved_address(address: str) -> bool:
    """Whether the domain of an e-mail address is reserved, so that no mail to it arrives."""
    domain = address.rpartition("@")[2].lower()
    return domain in DOMAINS or domain.endswith(TOP_LEVEL)


def is_reserved_number(number: str) -> bool:
    """Whether a number in E.164 is reserved for fiction."""
    return len(number) == _DIGITS and number.startswith(NUMBERS)
