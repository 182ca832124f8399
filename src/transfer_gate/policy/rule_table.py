"""The table of all rules for docs/reference/rules.md: `python -m transfer_gate.policy.rule_table >
docs/reference/rules.md`."""

import datetime as dt
import sys
from collections.abc import Iterator

from transfer_gate.model.terms import CHANNELS
from transfer_gate.policy.catalogue import FAMILIES, RULES, rules_of
from transfer_gate.policy.rule import BASES, GDPR, KINDS, Rule
from transfer_gate.policy.written import as_written

_HEAD = """\
# The rules

Generated from the code by `python -m transfer_gate.policy.rule_table`; do not edit. What the law behind them is, and
what is contested, stands in [What the gate checks and why](../explanation/rules.md).

A rule that does not apply holds. A rule that applies and lacks a field fails. *Needs*: the rule applies only
where the partner's file, the relevant consent (c) or the notice (n) exists; that one is missing is
another reason. Dates are 00:00 in Paris; a dated rule applies when the time between the decision and the end of
the campaign touches its dates. Status: **S** settled, **C** contested or read second-hand only, **H** house
policy. Reasons come in this order.

Before all rules come the reasons of the gate itself: `undecodable`, `schema-invalid`, `too-large`,
`key-mismatch`, `key-misplaced` and `prospect-unidentified` (each of them alone), `history-overflow`,
`consent-unreadable`, `partner-unknown`, `partner-paused`, `partner-on-rehearsal`,
`partner-recall-overdue`; after them `rule-error`, when a rule raised.
"""
_NEEDS = {"p": "partner's file", "c": "c", "n": "n"}


def lines() -> Iterator[str]:
    """The page, line by line, in Markdown."""
    yield from _HEAD.splitlines()
    yield ""
    yield "| rule | what it asks | status | reference |"
    yield "|---|---|---|---|"
    for rule in RULES:
        anchor = f"{rule.id}-{rule.status.lower()}"
        yield f"| [`{rule.id}`](#{anchor}) | {rule.title} | {rule.status} | {rule.reference} |"
    for family, module in FAMILIES.items():
        yield ""
        yield f"## {family}"
        for rule in rules_of(module):
            yield ""
            yield f"### `{rule.id}` ({rule.status.value})"
            yield ""
            yield f"{rule.title}."
            yield ""
            yield f"- Applies: {applies(rule)}"
            yield f"- Holds when: {as_written(rule.id).words}"
            yield f"- Reference: {rule.reference}"


def applies(rule: Rule) -> str:
    """To what and when the rule applies, in words."""
    parts = [
        "every channel" if rule.channels == set(CHANNELS) else _listed([c for c in CHANNELS if c in rule.channels]),
        "" if rule.kinds == set(KINDS) else _listed([kind for kind in KINDS if kind in rule.kinds]),
        _bases(rule),
        rule.when_words,
        _dates(rule),
    ]
    return "; ".join(part for part in parts if part) + "."


def _bases(rule: Rule) -> str:
    needs = {
        basis: " and ".join(word for mark, word in _NEEDS.items() if mark in rule.bases[basis])
        for basis in BASES
        if basis in rule.bases
    }
    if len(set(needs.values())) == 1:
        need = next(iter(needs.values()))
        needed = f"needs {need}" if need else ""
        if len(needs) == len(BASES):
            return needed
        bases = f"basis {' or '.join(map(_word, needs))}"
        return f"{bases}, {needed}" if needed else bases
    return "basis " + ", ".join(
        f"{_word(basis)} (needs {need})" if need else _word(basis) for basis, need in needs.items()
    )


def _dates(rule: Rule) -> str:
    if rule.first_day == GDPR and rule.end_day is None:
        return ""
    end = f" until {rule.end_day - dt.timedelta(days=1)}" if rule.end_day else ""
    return f"from {rule.first_day}{end}"


def _listed(words: list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _word(basis: str) -> str:
    return basis.replace("_", " ")


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
