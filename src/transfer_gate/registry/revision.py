"""The revision: a content hash of what a registry means, stamped on every decision."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from transfer_gate.model.registry import Notice, Partner, Policy
from transfer_gate.model.reviewed import Reviewed

#: 128 bits: even somebody who may write both of two different registries can't make them share a revision (2^64 tries).
_HEX_DIGITS: Final = 32


def revision_of(partners: Mapping[str, Partner], notices: Mapping[str, Notice], policy: Policy) -> str:
    """`sha256:` and the first 32 hexadecimal digits of the hash of the objects' canonical JSON.

    It follows the meaning and not the bytes: comments, layout, quotes, the order of keys and files, and the offset in
    which an instant is written change nothing. A field left out equals its default, so a release of the gate that adds
    an optional field keeps every revision. The order of a list counts.
    """
    objects = {
        "partners": {name: _plain(partner) for name, partner in partners.items()},
        "notices": {name: _plain(notice) for name, notice in notices.items()},
        "policy": _plain(policy),
    }
    canonical = json.dumps(objects, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()[:_HEX_DIGITS]}"


def _plain(reviewed: Reviewed) -> dict[str, Any]:
    return reviewed.model_dump(mode="json", by_alias=True, exclude_defaults=True)
