"""What is known of a new partner, as the file of the registry that says it."""

import datetime as dt
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from msgspec import Struct

from transfer_gate.errors import InvalidInput
from transfer_gate.model.registry import Partner, Registry
from transfer_gate.registry import Finding, inspect


class Description(Struct, frozen=True, kw_only=True):
    """Answers about a new partner; the names are those of the partner's file. Times are aware."""

    party_id: str
    legal_name: str
    registration_no: str
    country: str
    categories: tuple[str, ...]
    contract_id: str
    contract_from: dt.datetime
    contract_to: dt.datetime | None
    no_onward: bool
    suppression_endpoint: str | None
    suppression_topic: str | None
    sla_hours: int
    listed_from: dt.datetime
    privacy_policy: str | None
    #: Hours to deliver a transfer within, by a program; None: the partner reads Kafka itself.
    delivery_hours: int | None
    fields: tuple[str, ...]

    def file(self) -> str:
        """The content of `partners/<party_id>.yaml`, on rehearsal."""
        contract: dict[str, Any] = {"id": self.contract_id, "valid_from": self.contract_from.isoformat()}
        if self.contract_to is not None:
            contract["valid_to"] = self.contract_to.isoformat()
        suppression: dict[str, Any] = {"sla_hours": self.sla_hours}
        if self.suppression_topic is not None:
            suppression["topic"] = self.suppression_topic
        if self.suppression_endpoint is not None:
            suppression["endpoint"] = self.suppression_endpoint
        partner: dict[str, Any] = {
            "party_id": self.party_id,
            "legal_name": self.legal_name,
            "registration_no": self.registration_no,
            "country": self.country,
            "role": "controller",
            "status": "rehearsal",
            "categories": list(self.categories),
            "contract": contract | {"no_onward": self.no_onward},
            "suppression": suppression,
            "listed": [{"from": self.listed_from.isoformat()}],
        }
        if self.privacy_policy is not None:
            partner["privacy_policy"] = self.privacy_policy
        if self.delivery_hours is not None:
            partner["delivery"] = {"sla_hours": self.delivery_hours}
        written = yaml.safe_dump(partner | {"fields": list(self.fields)}, sort_keys=False, allow_unicode=True)
        head = "# On rehearsal: only invented people are released, until the checklist is done and status is active.\n"
        return head + written


class Checked(Struct, frozen=True):
    """The new partner as the registry reads it, that registry, and what is doubtful in the new file."""

    partner: Partner
    registry: Registry
    doubts: tuple[Finding, ...]


def checked(description: Description, folder: Path) -> Checked:
    """Read the new file beside the others of the registry in `folder`, by the loader of the gate.

    Writes nothing there. Raises InvalidInput for what is wrong in it, or in the registry.
    """
    with TemporaryDirectory(prefix="transfer-gate-") as made:
        copy = Path(made) / "registry"
        try:
            copytree(folder, copy)
            (copy / "partners").mkdir(exist_ok=True)
            file = copy / "partners" / f"{description.party_id}.yaml"
            file.write_text(description.file(), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"{folder}: can't be read: {error.strerror}", do="give the registry's folder") from None
        inspection = inspect(copy)
        found = [finding for finding in (*inspection.errors, *inspection.warnings) if finding.file == str(file)]
        if inspection.registry is None:
            listed = "\n".join(
                f"  {e.file.replace(made, '').lstrip('/')}: {e.field}: {e.what}" for e in inspection.errors
            )
            raise InvalidInput(f"the registry would be wrong:\n{listed}", do="correct the options; nothing was written")
    return Checked(inspection.registry.partners[description.party_id], inspection.registry, tuple(found))
