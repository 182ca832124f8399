"""Canonical forms of e-mail addresses (contract section 2)."""

import unicodedata

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfer_gate.model.addresses import canonical_domain, canonical_email, is_local_part, stopped_email


@pytest.mark.parametrize(
    ("domain", "canonical"),
    [
        ("orange.fr", "orange.fr"),
        ("Orange.FR.", "orange.fr"),
        ("\uff4caposte.net", "laposte.net"),
        ("laposte\u3002net", "laposte.net"),
        ("laposte.net\uff0e", "laposte.net"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("STRASSE.example", "strasse.example"),
        ("caf\u00e9.example", "xn--caf-dma.example"),
        ("cafe\u0301.example", "xn--caf-dma.example"),
        ("XN--CAF-DMA.example", "xn--caf-dma.example"),
        ("localhost", "localhost"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_two_spellings_of_a_domain_have_one_canonical_form(domain: str, canonical: str) -> None:
    assert canonical_domain(domain) == canonical


@pytest.mark.parametrize(
    "domain",
    [
        "",
        ".",
        ".example",
        "a..example",
        "example..",
        "courriel.example,",
        "a_b.example",
        "-a.example",
        "a-.example",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "[192.0.2.1]",
        "example(comment).org",
        "exa mple.org",
        "example.org\t",
        "exa\u00admple.org",
        "exa\u200bmple.org",
        "exa\u200dmple.org",
        "\u202eexample.org",
        "example\u00a0.org",
        "\ufeffexample.org",
        "xn--a.example",
        "\u0000example.org",
    ],
)
def test_a_domain_without_a_canonical_form_has_none(domain: str) -> None:
    assert canonical_domain(domain) is None


@pytest.mark.parametrize(
    "address",
    [
        " claire@courriel.example",
        "claire @courriel.example",
        "claire\u200b@courriel.example",
        "claire\u0007@courriel.example",
        "<claire@courriel.example>",
        "claire(home)@courriel.example",
        "anne,claire@courriel.example",
        "mailto:claire@courriel.example",
        "@courriel.example",
        "claire",
        "claire@anne@courriel.example",
    ],
)
def test_an_address_that_is_more_or_less_than_an_address_has_no_canonical_form(address: str) -> None:
    assert canonical_email(address) is None
    assert stopped_email(address) is None


def test_only_stops_fold_the_local_part() -> None:
    assert canonical_email("Claire.Durand@Courriel.EXAMPLE.") == "Claire.Durand@courriel.example"
    assert stopped_email("Claire.Durand@Courriel.EXAMPLE.") == "claire.durand@courriel.example"


@given(st.text(alphabet="abxnz019-.AB_", max_size=80))
def test_a_plain_domain_is_what_idna_makes_of_it(domain: str) -> None:
    canonical = canonical_domain(domain)

    try:
        expected = idna.encode(domain, uts46=True, std3_rules=True).decode().removesuffix(".")
    except (idna.IDNAError, UnicodeError):
        expected = None
    assert canonical == expected


@given(st.text(max_size=20) | st.text(alphabet="az09.-_@+ é(\t", max_size=8))
def test_a_local_part_is_what_has_no_separator_and_nothing_that_is_not_seen(local: str) -> None:
    unseen = any(x.isspace() or unicodedata.category(x) in ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp") for x in local)
    assert is_local_part(local) is (local != "" and not set(local) & set("@()<>[],;:") and not unseen)
