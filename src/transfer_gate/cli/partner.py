"""`transfer-gate partner new`: everything that a new partner needs, on rehearsal."""

import datetime as dt
import re
import sys
from pathlib import Path
from typing import Any, Final

import click

from transfer_gate.cli.options import PATH, moment
from transfer_gate.cli.render import echo
from transfer_gate.errors import InvalidInput
from transfer_gate.model.reviewed import PARTY_ID_PATTERN
from transfer_gate.model.topics import Topics
from transfer_gate.new_files import refuse_existing, write_new
from transfer_gate.partners.checklist import checklist
from transfer_gate.partners.description import Description, checked
from transfer_gate.partners.kit import kit
from transfer_gate.partners.manifests import acl_lines, topic_manifests, user_manifest
from transfer_gate.settings import load_settings

#: Partitions and replicas of the manifests, where the settings name none: those of deploy/kubernetes.
_PARTITIONS: Final = 12
_REPLICATION: Final = 3
#: What helps where a file exists.
_INSTEAD: Final = "choose another id or --out"
#: What must be known: option -> question.
_ASKED: Final = {
    "legal_name": "Name of the company, as in the trade register",
    "registration_no": "Number in the trade register (SIREN)",
    "country": "Country (ISO 3166-1 alpha-2)",
    "categories": "What it deals in (words of your offers, with commas)",
    "contract_id": "Reference of the contract",
    "contract_from": "The contract holds from (as 2026-09-01T00:00:00+02:00)",
    "listed_from": "On the published list of partners from",
}
#: What may be unknown.
_OPTIONAL: Final = ("suppression_endpoint", "suppression_topic", "privacy_policy", "delivery_hours")


@click.group()
def partner() -> None:
    """Set a new partner up."""


@partner.command()
@click.argument("party_id", metavar="ID")
@click.option("--legal-name", metavar="TEXT", help="Name of the company.")
@click.option("--registration-no", metavar="TEXT", help="Number in the trade register (SIREN).")
@click.option("--country", metavar="CC", help="Where it is established: ISO 3166-1 alpha-2.")
@click.option("--category", "categories", multiple=True, metavar="WORD", help="What it deals in, repeatable.")
@click.option("--contract-id", metavar="TEXT", help="Reference of the contract.")
@click.option("--contract-from", metavar="TIME", help="First instant of the contract, RFC 3339.")
@click.option("--contract-to", metavar="TIME", help="First instant after it.  [default: open]")
@click.option("--no-onward/--onward", default=None, help="The contract forbids to pass prospects on, or does not.")
@click.option("--suppression-endpoint", metavar="URL", help="Where it listens for withdrawals.")
@click.option("--suppression-topic", metavar="TOPIC", help="Or the topic of withdrawals that it reads.")
@click.option("--sla-hours", type=click.IntRange(min=0), default=24, show_default=True, help="To apply them within.")
@click.option("--listed-from", metavar="TIME", help="Since when it stands on the published list, RFC 3339.")
@click.option("--privacy-policy", metavar="URL", help="Address of its privacy policy.")
@click.option(
    "--delivery-hours",
    type=click.IntRange(1, 720),
    help="It reads no Kafka: hours after its release within which a program of yours delivers a transfer.",
)
@click.option("--field", "fields", multiple=True, metavar="NAME", help="Attribute that it may receive, repeatable.")
@click.option("--registry", type=PATH, help="Folder of the registry.  [default: TRANSFER_GATE_REGISTRY]")
@click.option("--out", type=PATH, help="Folder of everything else.  [default: partner-ID]")
def new(party_id: str, registry: Path | None, out: Path | None, **given: Any) -> None:
    """Write the registry file of partner ID, on rehearsal, and what goes with it.

    Manifests of topics and user, ACLs, a checklist of what law and contract need, and a kit for its developers. Asks on
    a terminal for what is missing; elsewhere exit 2. Exit 5 when a file exists: nothing is overwritten.
    """
    if not re.fullmatch(PARTY_ID_PATTERN, party_id):
        raise InvalidInput("ID: not a party id", do="1 to 128 letters, digits, '.', '_' or '-', the first no sign")
    settings = load_settings()
    folder, below = registry or settings.registry, out or Path(f"partner-{party_id}")
    file = folder / "partners" / f"{party_id}.yaml"
    refuse_existing([file], _INSTEAD)
    description = _described(party_id, given)
    found = checked(description, folder)
    topics: Topics = settings.topics
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    partitions, replication = settings.partitions or _PARTITIONS, settings.replication or _REPLICATION
    texts = {
        file: description.file(),
        below / "CHECKLIST.md": checklist(topics, found.registry, found.partner, now),
        below / "topics.yaml": topic_manifests(topics, found.registry, found.partner, partitions, replication),
        below / "user.yaml": user_manifest(topics, found.partner),
        below / "acls.txt": acl_lines(topics, found.partner),
    }
    kit_files = kit(topics, found.registry, found.partner, now)
    texts |= {below / "kit" / name: text for name, text in kit_files.items()}
    for path in write_new(texts, _INSTEAD):
        echo(path)
    for doubt in found.doubts:
        echo(f"warning: {party_id}.yaml:{doubt.line}: {doubt.field}: {doubt.what}", err=True)
    echo(f"next: {below / 'CHECKLIST.md'}; the kit is for the partner: {below / 'kit'}", err=True)


def _described(party_id: str, given: dict[str, Any]) -> Description:
    """The answers, from options or a terminal. Raises InvalidInput that names each option which is missing."""
    answers = {name: value for name, value in given.items() if value not in (None, ())}
    if not sys.stdin.isatty():
        _refuse_missing(answers)
    for name, question in _ASKED.items():
        if name not in answers:
            text = click.prompt(question, err=True)
            answers[name] = tuple(filter(None, map(str.strip, text.split(",")))) if name == "categories" else text
    if "no_onward" not in answers:
        answers["no_onward"] = click.confirm("Does the contract forbid to pass prospects on?", err=True)
    if not {"suppression_endpoint", "suppression_topic"} & answers.keys():
        answers["suppression_endpoint"] = click.prompt("Where it listens for withdrawals (https://...)", err=True)
    start, listed, end = (
        moment(_option(name), answers.get(name)) for name in ("contract_from", "listed_from", "contract_to")
    )
    if start is None or listed is None:
        raise InvalidInput("a time is missing", do="give --contract-from and --listed-from")
    times = {"contract_from": start, "listed_from": listed, "contract_to": end}
    rest = {name: answers.get(name) for name in _OPTIONAL}
    return Description(**{"fields": (), **answers, **rest, **times, "party_id": party_id})


def _refuse_missing(answers: dict[str, Any]) -> None:
    missing = [_option(name) for name in _ASKED if name not in answers]
    if "no_onward" not in answers:
        missing.append("--no-onward (or --onward)")
    if not {"suppression_endpoint", "suppression_topic"} & answers.keys():
        missing.append("--suppression-endpoint or --suppression-topic")
    if missing:
        raise InvalidInput(
            f"not known: {', '.join(missing)}", do="give these options, or run it on a terminal, where it asks"
        )


def _option(name: str) -> str:
    return "--" + {"categories": "category"}.get(name, name).replace("_", "-")
