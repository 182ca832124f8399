"""Whether a release to a partner on rehearsal is of a real person. Written from docs/how-to/registry.md, on purpose
without `model.invented`, by which the gate decides: a defect there must not hide its own leaks.
"""

import re
from typing import Final

from transfer_gate.records.released import ReleasedRecord

_RESERVED_ADDRESS: Final = re.compile(
    r".*@(example\.(org|com|net)|[^@]*\.(example|test|invalid))", re.IGNORECASE | re.ASCII | re.DOTALL
)
_RESERVED_NUMBER: Final = re.compile(r"\+33(63998|19900|26191|35301|46571|53649)[0-9]{4}")


def real_person(body: ReleasedRecord) -> str | None:
    """What of the released record is not that of an invented person, as the name of a field; None when nothing is."""
    contact = body.contact
    if body.prospect_id[:12] != "tg-invented-":
        return "prospect_id"
    if contact.email is not None and not _RESERVED_ADDRESS.fullmatch(contact.email.value):
        return "contact.email"
    if contact.phone is not None and not _RESERVED_NUMBER.fullmatch(contact.phone.value):
        return "contact.phone"
    if contact.postal is not None and contact.postal.lines[:1] != ("SPECIMEN",):
        return "contact.postal"
    return None
