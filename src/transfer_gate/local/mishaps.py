"""What senders get wrong: transfers that are held for it, and records that can't be read at all."""

import datetime as dt
import random
from collections.abc import Sequence
from typing import Any, Final

import orjson

#: A reseller that should not be in the chain.
RESELLER: Final = "listes-et-cie"
#: A partner that no registry has.
UNKNOWN_PARTNER: Final = "partenaire-inconnu"


def go_wrong(transfer: dict[str, Any], case: int, strangers: Sequence[str], special: Sequence[str]) -> None:
    """Change a transfer into one that must be held; `case` 0 to 9 picks the mistake.

    `strangers` are partners that may receive nothing now, `special` attributes that reveal a special category.
    """
    match case:
        case 0:
            transfer["source"] = {"role": "reseller", "chain": [*transfer["source"]["chain"], RESELLER]}
        case 1:
            transfer["purpose"] = "social_matching"
        case 2:
            transfer["use_until"] = transfer["requested_at"] - dt.timedelta(days=1)
        case 3:
            points = {"postal": "postal", "email": "email"}
            missing = points.get(transfer["channels"][0], "phone")
            transfer["contact"] = {name: point for name, point in transfer["contact"].items() if name != missing}
        case 4:
            transfer["source_restricted"] = True
        case 5:
            transfer["partner_ids"] = [UNKNOWN_PARTNER, *strangers[:1]]
        case 6 if special:
            transfer["attributes"] = {**transfer["attributes"], special[0]: "yes"}
        case 7:
            transfer["partner_roles"] = {transfer["partner_ids"][0]: "processor"}
        case 8:
            transfer["requested_at"] += dt.timedelta(days=2)
        case _:
            del transfer["collected_at"]


def spoil(transfer: dict[str, Any], draw: random.Random) -> tuple[bytes, bytes]:
    """Key and value of a record that can't be decided: broken, of the wrong shape, or under a foreign key."""
    key = transfer["prospect_id"].encode()
    case = draw.randrange(6)
    if case == 0:
        return key, orjson.dumps(transfer)[:-20]
    if case == 1:
        return key, orjson.dumps(transfer)[:-2] + b"\xff\xfe}"
    if case == 2:
        return b"p-foreign", orjson.dumps(transfer)
    if case == 3:
        del transfer["purpose"]
    elif case == 4:
        transfer["channels"] = ["carrier_pigeon"]
    else:
        transfer["partner_ids"] = "acme"
    return key, orjson.dumps(transfer)
