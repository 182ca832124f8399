"""The rules in the code are those of rules.md, and the page about them is what the code says."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

from transfer_gate.model.terms import REASONS, OperationalReason, RuleId
from transfer_gate.policy.catalogue import RULES
from transfer_gate.policy.rule_table import lines
from transfer_gate.policy.written import as_written

#: The table of rules.md section 3: id, status, reference, first day, first day after the last one.
RULES_MD = """
partner-known-and-contracted | S | GDPR 5(2), 24 | 2018-05-25 |
partner-role-controller | S | GDPR 4(7), 28 | 2018-05-25 |
partner-listed-now | S | CNIL partner fiche | 2018-12-28 |
third-country-safeguard | S | GDPR 44–46 | 2018-05-25 |
clock-sane | H | GDPR 5(2) | 2018-05-25 |
use-window-open | H | GDPR 5(1)(b) | 2018-05-25 |
jurisdiction-covered | H | – | 2018-05-25 |
contact-point-present | H | – | 2018-05-25 |
source-visibility-respected | S | GDPR 6, 14; KASPR | 2018-05-25 |
not-erased-or-restricted | S | GDPR 17, 18 | 2018-05-25 |
not-objected | S | GDPR 21(2)–(3) | 2018-05-25 |
contact-not-stopped | S | GDPR 21(2)–(3), 7(3); opposition registers | 2018-05-25 |
not-withdrawn | S | GDPR 7(3); L223-1, R223-3 C. conso. | 2018-05-25 |
electronic-optin | S | L34-5, L32 32° CPCE; GDPR 6(1)(a) | 2018-05-25 |
no-soft-optin-for-partners | S | L34-5 al. 4; ACCOR; C-654/23 | 2018-05-25 |
purpose-specific | S | GDPR 5(1)(b), 6; SAN-2025-017 | 2018-05-25 |
partner-named-at-consent | S | GDPR 4(11), 13; Canal+, HUBSIDE; C-317/25 pending | 2018-05-25 |
consent-valid-act | S | GDPR 4(11), 7(2); C-673/17 | 2018-05-25 |
form-not-deceptive | S | GDPR 4(11), 7(4); TAGADAMEDIA | 2018-05-25 |
consent-proof-individual | S | GDPR 7(1); EDF, SOLOCAL | 2018-05-25 |
notice-in-force-at-collection | S | GDPR 5(2), 13 | 2018-05-25 |
no-onward-consent | C | CNIL partner fiche; AG in C-317/25 | 2018-12-28 |
li-informed | S | GDPR 6(1)(f), 13, 21(4) | 2018-05-25 |
li-recipient-expected | S | FORIOU; C-621/22. B: C | 2018-05-25 |
b2b-scope | S | L34-5; CNIL e-mail fiche (for sms and automated_call: C). Kinds of 1.5: H | 2018-05-25 |
phone-optout-bloctel | S | L223-1 (2020), L223-3 C. conso. | 2016-06-01 | 2026-08-11
phone-optin | S | L223-1 al. 1–4, L223-5 | 2026-08-11 |
phone-named-pro-and-offer | C | R223-1 I | 2026-08-11 |
phone-consent-one-year | C | R223-1 I 3, II | 2026-08-11 |
phone-proof-three-years | C | R223-2 | 2026-08-11 |
phone-collection-statement | S | L223-2 | 2026-08-11 |
phone-ongoing-contract | S | L223-1 al. 4 | 2020-07-26 |
sector-ban-home-works | S | L223-1 al. 3 (2020), al. 5 (2026), R223-4 | 2020-07-26 |
sector-ban-messages | S | L223-8, L242-16-1 (the contract is void) | 2025-07-02 |
retention-three-years | S | GDPR 5(1)(e); CNIL référentiel 2022, recommandation 2026-042 | 2022-02-03 |
minor-consent | S | GDPR 8; LIL 45 | 2018-06-22 |
special-category-block | S | GDPR 9(2)(a); COSMOSPACE | 2018-05-25 |
payload-minimised | S | GDPR 5(1)(c) | 2018-05-25 |
"""


def test_the_rules_are_those_of_rules_md_with_their_status_reference_and_dates() -> None:
    written = [
        f"{rule.id} | {rule.status} | {rule.reference} | {rule.first_day} | {rule.end_day or ''}".rstrip()
        for rule in RULES
    ]
    assert written == RULES_MD.strip().splitlines()


def test_the_reasons_are_the_rules_between_those_of_the_gate_itself() -> None:
    ids = tuple(rule.id for rule in RULES)
    assert ids == get_args(RuleId)
    assert (*get_args(OperationalReason), *ids, "rule-error") == REASONS


def test_every_rule_says_in_words_what_it_asks() -> None:
    for rule in RULES:
        assert rule.title
        assert as_written(rule.id).words.endswith("."), rule.id
        assert bool(rule.when) == bool(rule.when_words), rule.id


def test_the_page_is_what_the_code_says() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "rules.md"
    assert page.read_text(encoding="utf-8") == "\n".join(lines()) + "\n"


def test_the_page_is_written_by_the_command_that_it_names() -> None:
    command = [sys.executable, "-m", "transfer_gate.policy.rule_table"]
    done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8")
    assert done.stdout == "\n".join(lines()) + "\n"
