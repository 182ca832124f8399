"""What changed between two registries, in words for those who answer for it, with the rules that read what changed."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from transfer_gate.model.reasons import Reason
from transfer_gate.model.registry import Control, Notice, Partner, Period, Registry
from transfer_gate.model.reviewed import Reviewed
from transfer_gate.registry.words import FIELDS, in_paris


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that differs: an object that came or went (`field` is empty then), or one field of an object."""

    kind: Literal["partner", "notice", "policy"]
    name: str
    title: str
    change: Literal["added", "removed", "changed"]
    field: str
    text: str
    rules: tuple[Reason, ...]


def compare(before: Registry, after: Registry) -> tuple[Change, ...]:
    """What differs in meaning: nothing exactly when the revisions are equal. Partners, then notices, then policy."""
    return (
        *_named("partner", before.partners, after.partners),
        *_named("notice", before.notices, after.notices),
        *_fields("policy", "", "Policy", before.policy, after.policy),
    )


def _named(
    kind: Literal["partner", "notice"],
    before: Mapping[str, Partner] | Mapping[str, Notice],
    after: Mapping[str, Partner] | Mapping[str, Notice],
) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        title = _title(kind, name, new or old)
        if old is None and new is not None:
            yield Change(kind, name, title, "added", "", f"is new: {_summary(new)}", ())
        elif new is None:
            rules: tuple[Reason, ...] = (
                ("partner-unknown",) if kind == "partner" else ("notice-in-force-at-collection",)
            )
            yield Change(kind, name, title, "removed", "", "is gone: what relies on it will be held", rules)
        elif old is not None:
            yield from _fields(kind, name, title, old, new)


def _title(kind: str, name: str, reviewed: Reviewed | None) -> str:
    legal_name = f" ({reviewed.legal_name})" if isinstance(reviewed, Partner) else ""
    return f"{kind.capitalize()} {name}{legal_name}"


def _summary(new: Partner | Notice) -> str:
    if isinstance(new, Partner):
        deals_in, receives = _shown(new.categories), _shown(new.fields)
        return f"{new.status}, established in {_shown(new.country)}, deals in {deals_in}, may receive {receives}"
    named = _shown(new.partner_list.party_ids) if new.partner_list else "nobody"
    period = _shown(Period.model_construct(from_=new.published_from, to=new.published_to))
    return f"published {period}, names {named}, review: {_shown(new.review.status if new.review else None)}"


def _fields(
    kind: Literal["partner", "notice", "policy"], name: str, title: str, old: Reviewed, new: Reviewed
) -> Iterator[Change]:
    olds, news = dict(_leaves(old)), dict(_leaves(new))
    for path in [*olds, *(path for path in news if path not in olds)]:
        before, after = olds.get(path), news.get(path)
        if before == after:
            continue
        entry = next((f" {step[1:-1]}" for step in path if step.startswith("[")), "")
        label, rules = FIELDS[_joined((kind, *("[]" if step.startswith("[") else step for step in path)))]
        yield Change(
            kind, name, title, "changed", _joined(path), f"{label}{entry}: {_difference(before, after)}", rules
        )


def _joined(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(".[", "[")


def _leaves(reviewed: Reviewed, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every single fact under the steps that lead to it; `[x]` is the entry x of a mapping."""
    for name, field in type(reviewed).model_fields.items():
        path = (*above, field.alias or name)
        value = getattr(reviewed, name)
        if isinstance(value, Reviewed):
            yield from _leaves(value, path)
            if value == type(value)():
                yield path, "there, but empty"
        elif isinstance(value, Mapping):
            yield path, tuple(sorted(value))
            for key, entry in sorted(value.items()):
                step = (*path, f"[{key}]")
                yield from _leaves(entry, step) if isinstance(entry, Reviewed) else [(step, entry)]
        else:
            yield path, value


def _difference(before: Any, after: Any) -> str:
    if not isinstance(before or after, tuple):
        return f"was {_shown(before)}, is now {_shown(after)}"
    before, after = before or (), after or ()
    said = []
    if came := tuple(entry for entry in after if entry not in before):
        said.append(f"now also {_shown(came)}")
    if went := tuple(entry for entry in before if entry not in after):
        said.append(f"no longer {_shown(went)}")
    return "; ".join(said) or "the same entries, in another order or number"


def _shown(value: Any) -> str:
    match value:
        case None:
            return "not said"
        case bool():
            return "yes" if value else "no"
        case dt.datetime():
            return in_paris(value)
        case tuple():
            return ", ".join(_shown(entry) for entry in value) or "nothing"
        case Period():
            return f"from {_shown(value.from_)} until {_shown(value.to) if value.to else 'further notice'}"
        case Control():
            facts = (f"{name.replace('_', ' ')}: {_shown(fact)}" for name, fact in value if name != "channels")
            return f"a box for {_shown(value.channels)} ({', '.join(facts)})"
        case _:
            return str(value)
