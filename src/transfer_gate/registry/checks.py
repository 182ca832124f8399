"""Checks of a registry: what is wrong or doubtful in it, and where (warnings never fail).

Paths start with the kind and the name of an object: `("partners", "acme", "topic")`.
"""

import datetime as dt
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Final, Literal

from transfer_gate.errors import InvalidInput
from transfer_gate.model.registry import Notice, Partner, Registry
from transfer_gate.model.reviewed import TOPIC_PATTERN
from transfer_gate.model.topics import PartyTopicKind, Topics
from transfer_gate.registry.diff import in_paris
from transfer_gate.registry.yamlfile import Steps, did_you_mean, dotted

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong at `path`: the steps from the top of the objects, such as `("partners", "acme", "status")`."""

    path: Steps
    what: str

    def under(self, *steps: str | int) -> "Problem":
        """The same problem, seen from further up."""
        return Problem((*steps, *self.path), self.what)

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.what}" if self.path else self.what


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A problem with its place in a file; `line` counts from 1, `field` is empty when the whole file is meant."""

    file: str
    line: int
    field: str
    what: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.field}: {self.what}"
            if self.field
            else f"{self.file}:{self.line}: {self.what}"
        )


class InvalidRegistry(InvalidInput):
    """Objects that are no registry; `problems` has the places, for a caller that knows their lines."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(("the registry is wrong:", *(f"  {problem}" for problem in problems))))
        self.problems = tuple(problems)


_LAST: Final = dt.datetime.max.replace(tzinfo=dt.UTC)
_FIRST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
#: Statuses under which something may be released, in words.
_STATUS: Final = {"active": "active", "rehearsal": "on rehearsal"}
#: `l-12`, `v3`: a running number. A year has more digits, a date such as `2026-03` has some in front: neither is one.
_NUMBERED: Final = re.compile(r"(\D*)(\d{1,3})")


def errors_in(partners: Mapping[str, Partner], notices: Mapping[str, Notice]) -> list[Problem]:
    """What no single field shows: topics that would mix partners up, and periods that hold no instant."""
    return [*_topic_errors(partners), *_period_errors(partners, notices)]


def warnings_in(registry: Registry) -> list[Problem]:
    """What is allowed but doubtful: each says what follows from it."""
    return [
        *_policy_doubts(registry),
        *_partner_doubts(registry),
        *_start_doubts(registry),
        *_field_doubts(registry),
        *_recipient_doubts(registry),
        *_list_version_doubts(registry.notices),
        *_publication_doubts(registry.notices),
    ]


def _topic_errors(partners: Mapping[str, Partner]) -> Iterator[Problem]:
    """Kafka takes `.` and `_` in topic names for equal: they collide in its metrics, so it refuses the second one."""
    taken = {_folded(name): "a topic of the gate itself" for name in _own_topics()}
    for name, partner in sorted(partners.items()):
        for found in Topics().of_party(partner):
            topic, kind = found.name, found.kind
            path = ("partners", name, *_names_topic(partner, kind))
            mine = f"the topic of {'' if kind == 'partner' else f'{kind} of '}partner {name}"
            if not re.fullmatch(TOPIC_PATTERN, topic):
                yield Problem(path, "must be 1 to 149 letters, digits, '.', '_' or '-'")
            elif topic in (".", "..") or topic.startswith("__"):
                yield Problem(path, f"topic {topic}: Kafka keeps this name for itself")
            elif (owner := taken.setdefault(_folded(topic), mine)) != mine:
                what = f"topic {topic} is {owner} ('.' and '_' count as equal); each partner needs its own"
                yield Problem(path, what)


def _names_topic(partner: Partner, kind: PartyTopicKind) -> Steps:
    """The field that names a topic of a partner."""
    if kind == "partner" and partner.topic:
        return ("topic",)
    if kind == "suppressions" and partner.suppression is not None and partner.suppression.topic:
        return ("suppression", "topic")
    return ("party_id",)


def _own_topics() -> Iterator[str]:
    """By looking, not by listing: a topic that is added to `Topics` is guarded without a word here."""
    unprefixed = Topics()
    for name, member in vars(Topics).items():
        if isinstance(member, property):
            yield getattr(unprefixed, name)


def _folded(topic: str) -> str:
    return topic.replace(".", "_")


def _period_errors(partners: Mapping[str, Partner], notices: Mapping[str, Notice]) -> Iterator[Problem]:
    periods: list[tuple[Steps, dt.datetime | None, dt.datetime | None]] = []
    for name, partner in partners.items():
        here = ("partners", name)
        if partner.contract:
            periods.append(((*here, "contract", "valid_to"), partner.contract.valid_from, partner.contract.valid_to))
        if partner.transfer_safeguard:
            safeguard = partner.transfer_safeguard
            periods.append(((*here, "transfer_safeguard", "valid_to"), safeguard.valid_from, safeguard.valid_to))
        for index, period in enumerate(partner.listed):
            periods.append(((*here, "listed", index, "to"), period.from_, period.to))
    for name, notice in notices.items():
        periods.append((("notices", name, "published_to"), notice.published_from, notice.published_to))
    for path, start, end in periods:
        if start is not None and end is not None and end <= start:
            yield Problem(path, "does not lie after the start of the period, so the period holds no instant")


def _policy_doubts(registry: Registry) -> Iterator[Problem]:
    if registry.policy.jurisdiction != "FR":
        yield Problem(("policy", "jurisdiction"), "only the rules of FR exist: every transfer will be held")
    if not registry.partners:
        yield Problem(("policy",), "the registry holds no partner: every transfer will be held")


def _partner_doubts(registry: Registry) -> Iterator[Problem]:
    for name, partner in registry.partners.items():
        here = ("partners", name)
        if partner.suppression is None or not (partner.suppression.topic or partner.suppression.endpoint):
            yield Problem(
                (*here, "suppression"),
                "no channel to pass withdrawals on (topic or endpoint): every transfer to it will be held",
            )
        elif partner.suppression.endpoint and partner.suppression.endpoint.startswith("http://"):
            yield Problem((*here, "suppression", "endpoint"), "http sends withdrawals unencrypted; use https")
        if partner.status in ("active", "rehearsal"):
            for path, what in _stands_in_the_way(partner):
                yield Problem(
                    (*here, *path),
                    f"{what}, though the partner is {_STATUS[partner.status]}: every transfer to it will be held",
                )
        for (i, one), (j, other) in combinations(enumerate(partner.listed), 2):
            if _overlap((one.from_, one.to), (other.from_, other.to)):
                yield Problem((*here, "listed", j), f"overlaps with listed[{i}]")


def _stands_in_the_way(partner: Partner) -> Iterator[tuple[Steps, str]]:
    """What holds every transfer to a partner, whatever the day (rules.md section 3, Partner)."""
    if partner.contract is None:
        yield ("contract",), "there is no contract"
    elif not partner.contract.no_onward:
        yield ("contract", "no_onward"), "the contract does not forbid to pass prospects on"
    elif partner.contract.valid_from is None:
        yield ("contract", "valid_from"), "the contract does not say since when it holds"
    if partner.role != "controller":
        yield ("role",), "the partner is not a controller"
    if not partner.listed:
        yield ("listed",), "the partner never stood on the list of partners"
    if partner.country is None:
        yield ("country",), "the country is not known"


def _start_doubts(registry: Registry) -> Iterator[Problem]:
    """An absent end is open, an absent start is a missing field (rules.md 1.1, 1.2)."""
    for name, partner in registry.partners.items():
        for index, period in enumerate(partner.listed):
            if period.from_ is None:
                yield Problem(("partners", name, "listed", index), "has no start (from), so it never counts")
        if partner.transfer_safeguard is not None and partner.transfer_safeguard.valid_from is None:
            yield Problem(("partners", name, "transfer_safeguard"), "has no start (valid_from), so it never counts")
    for version, notice in registry.notices.items():
        if notice.published_from is None:
            yield Problem(
                ("notices", version), "has no start (published_from): what was collected under it will be held"
            )


def _field_doubts(registry: Registry) -> Iterator[Problem]:
    known = registry.policy.attributes
    declared = {name for notice in registry.notices.values() for name in notice.attributes}
    for party, partner in registry.partners.items():
        for index, name in enumerate(partner.fields):
            path = ("partners", party, "fields", index)
            if name not in declared:
                yield Problem(
                    path, f"{name} is declared by no notice, so it never goes out{did_you_mean(name, declared)}"
                )
            if name not in known:
                yield Problem(path, f"{name} is not in the policy, so it never goes out{did_you_mean(name, known)}")
    for version, notice in registry.notices.items():
        for index, name in enumerate(notice.attributes):
            if name not in known:
                path = ("notices", version, "attributes", index)
                yield Problem(path, f"{name} is not in the policy, so it never goes out{did_you_mean(name, known)}")


def _recipient_doubts(registry: Registry) -> Iterator[Problem]:
    for version, notice in registry.notices.items():
        here = ("notices", version)
        if notice.review is None or notice.review.status is None:
            yield Problem((*here, "review"), "the form was not reviewed: what needs consent will be quarantined")
        for index, party in enumerate(notice.partner_list.party_ids if notice.partner_list else ()):
            if party not in registry.partners:
                hint = did_you_mean(party, registry.partners)
                yield Problem(
                    (*here, "partner_list", "party_ids", index),
                    f"{party} has no file: its transfers will be held{hint}",
                )


def _list_version_doubts(notices: Mapping[str, Notice]) -> Iterator[Problem]:
    shown: dict[str, tuple[str, frozenset[str]]] = {}
    numbers: dict[str, dict[int, str]] = defaultdict(dict)
    for name, notice in _by_publication(notices):
        if notice.partner_list is None:
            continue
        path = ("notices", name, "partner_list", "version")
        version = notice.partner_list.version
        if version is None:
            yield Problem(path[:-1], "the list has no version: no consent can be tied to it")
            continue
        parties = frozenset(notice.partner_list.party_ids)
        first, named = shown.setdefault(version, (name, parties))
        if named != parties:
            yield Problem(
                path, f"{version} names other partners here than in notice {first}; a changed list needs a new version"
            )
        if numbered := _NUMBERED.fullmatch(version):
            numbers[numbered[1]].setdefault(int(numbered[2]), name)
    for prefix, found in numbers.items():
        for before, after in pairwise(sorted(found)):
            if after - before > 1:
                missing = f"{prefix}{before + 1}" + (f" to {prefix}{after - 1}" if after - before > 2 else "")
                path = ("notices", found[after], "partner_list", "version")
                yield Problem(path, f"jumps from {prefix}{before}: no notice showed list {missing}")


def _publication_doubts(notices: Mapping[str, Notice]) -> Iterator[Problem]:
    ordered = _by_publication(notices)
    for (name, notice), (other, later) in combinations(ordered, 2):
        if _overlap((notice.published_from, notice.published_to), (later.published_from, later.published_to)):
            yield Problem(
                ("notices", other, "published_from"),
                f"was published while notice {name} was: which one did a person see?",
            )
    end = ordered[0][1].published_to if ordered else None
    for name, notice in ordered[1:]:
        start = notice.published_from or _FIRST
        if end is not None and end < start:
            yield Problem(
                ("notices", name, "published_from"),
                f"no notice was published between {in_paris(end)} and {in_paris(start)}",
            )
        end = None if end is None or notice.published_to is None else max(end, notice.published_to)
    hashes: dict[str, str] = {}
    for name, notice in ordered:
        if notice.text_hash and (first := hashes.setdefault(notice.text_hash, name)) != name:
            yield Problem(
                ("notices", name, "text_hash"), f"is the text of notice {first} too: another version is another text"
            )


def _by_publication(notices: Mapping[str, Notice]) -> list[tuple[str, Notice]]:
    return sorted(notices.items(), key=lambda item: (item[1].published_from or _FIRST, item[0]))


def _overlap(
    one: tuple[dt.datetime | None, dt.datetime | None], other: tuple[dt.datetime | None, dt.datetime | None]
) -> bool:
    return (one[0] or _FIRST) < (other[1] or _LAST) and (other[0] or _FIRST) < (one[1] or _LAST)
