"""Reasons: the texts are what stands in databases and in answers, so each is held here letter for letter."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ordertrail.domain import reason as reasons
from ordertrail.domain.reason import (
    ABSENT,
    ACCEPTED,
    NOT_RECORDED,
    VERIFIED,
    Cause,
    Reason,
    ReasonKind,
    by_operator,
    http_cause,
    not_sent,
    parse,
    presumed,
    proved,
    refused,
    unknown,
    verified,
)

K = ReasonKind
ABOUT_ANOTHER = (proved, presumed, verified)
ALONE = [value for value in vars(reasons).values() if isinstance(value, Reason) and value.detail is None]

WORDS = st.one_of(st.sampled_from(Cause), st.integers(100, 599).map(http_cause), st.text())
PLAIN = st.one_of(
    st.sampled_from(ALONE),
    WORDS.map(refused),
    WORDS.map(not_sent),
    WORDS.map(unknown),
    st.builds(by_operator, st.text(), st.text()),
    st.text().map(parse),
)
ANY_REASON = st.recursive(PLAIN, lambda inner: st.one_of(*(inner.map(about) for about in ABOUT_ANOTHER)), max_leaves=3)
LIKE_OURS = st.lists(st.sampled_from([*ReasonKind, *Cause, ":", " ", "x"]), max_size=6).map("".join)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (ACCEPTED, "accepted"),
        (refused("NO_MONEY"), "refused:NO_MONEY"),
        (refused(reasons.UNSPECIFIED), "refused:unspecified"),
        (not_sent(Cause.CLOSED), "not_sent:closed"),
        (not_sent("of_an_adapter"), "not_sent:of_an_adapter"),
        (NOT_RECORDED, "not_sent:not_recorded"),
        (unknown(Cause.TIMEOUT), "unknown:timeout"),
        (unknown(http_cause(502)), "unknown:http_502"),
        (proved(refused("NO_MONEY")), "proved:refused:NO_MONEY"),
        (proved(not_sent(Cause.NEVER)), "proved:not_sent:never"),
        (proved(ABSENT), "proved:absent"),
        (presumed(ABSENT), "presumed:absent"),
        (VERIFIED, "verified"),
        (verified(refused("NO_MONEY")), "verified:refused:NO_MONEY"),
        (reasons.EXECUTION, "execution"),
        (reasons.RESENT, "resent"),
        (by_operator("joe", "the desk: it is there"), "operator:joe: the desk: it is there"),
        (reasons.DIFFERS_AT_EXCHANGE, "differs_at_exchange"),
        (reasons.REFUSED_ONE_OF_SEVERAL, "refused_one_of_several"),
        (reasons.ACCEPTED_AND_ABSENT, "accepted_and_absent"),
        (reasons.EXCHANGE_FORGOT, "exchange_forgot"),
        (reasons.ABSENCE_CANNOT_BE_PROVED, "absence_cannot_be_proved"),
        (reasons.HIDDEN_FROM_CANCEL, "hidden_from_cancel"),
    ],
)
def test_reason_is_written_in_these_letters_and_read_again(reason: Reason, text: str) -> None:
    assert reason.text == str(reason) == text
    assert type(reason.text) is str
    assert parse(text) == reason


def test_every_cause_is_written_in_these_letters() -> None:
    assert {cause.value for cause in Cause} == {
        "throttled", "closed", "send_window_passed", "circuit_open", "rate_limited", "queue_full", "halted",
        "connect_failed", "connect_timeout", "not_recorded", "never", "timeout", "connection_lost", "unreadable",
        "too_large", "too_late", "another_order", "differs_at_exchange", "redirect", "exchange_broken",
        "adapter_raised",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "detail"),
    [
        ("refused:", K.REFUSED, ""),
        ("refused:a:b", K.REFUSED, "a:b"),
        ("not_sent:", K.NOT_SENT, ""),
        ("unknown:refused:x", K.UNKNOWN, "refused:x"),
        ("proved:whatever", K.PROVED, "whatever"),
        ("verified:", K.VERIFIED, ""),
        ("operator:asked", K.OPERATOR, "asked"),
        ("absent", K.ABSENT, None),
    ],
)
def test_what_has_the_form_of_ours_is_read_as_ours(text: str, kind: ReasonKind, detail: str | None) -> None:
    assert parse(text) == Reason(kind, detail)


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "refused", "not_sent", "unknown", "proved", "presumed", "operator", "foreign", "foreign:x",
        "accepted:", "accepted:x", "resent:1", "execution:x", "absent:x", "hidden_from_cancel:x",
        "Accepted", " accepted", "accepted ", "REFUSED:x", "refused :x", "their own words: refused:x",
    ],
)  # fmt: skip
def test_what_has_another_form_is_foreign_and_keeps_its_letters(text: str) -> None:
    reason = parse(text)

    assert (reason.kind, reason.text) == (K.FOREIGN, text)


@given(ANY_REASON)
def test_reason_survives_being_written_and_read(reason: Reason) -> None:
    assert parse(str(reason)) == reason


@given(st.one_of(st.text(), LIKE_OURS, LIKE_OURS.map(lambda text: text + "\x00")))
@example("proved:" * 50)
def test_any_text_can_be_read_and_loses_no_letter(text: str) -> None:
    reason = parse(text)

    assert reason.text == text
    assert reason.innermost.text == text[len(text) - len(reason.innermost.text) :]


def test_each_kind_has_an_example_that_survives() -> None:
    examples = [
        *ALONE,
        refused("x"),
        not_sent("x"),
        unknown("x"),
        proved(ABSENT),
        presumed(ABSENT),
        by_operator("x", "y"),
    ]

    assert {parse(str(each)).kind for each in [*examples, parse("their own")]} == {*ReasonKind}


@given(PLAIN.filter(lambda reason: reason.kind not in {K.PROVED, K.PRESUMED, K.VERIFIED}), st.data())
def test_innermost_is_what_is_proved_presumed_or_verified(inner: Reason, data: st.DataObject) -> None:
    reason = inner
    for about in data.draw(st.lists(st.sampled_from(ABOUT_ANOTHER), max_size=4)):
        reason = about(reason)

    assert reason.innermost == inner


def test_innermost_of_what_is_about_no_other_is_itself() -> None:
    evidence = by_operator("joe", "refused:x")

    assert [each.innermost for each in (VERIFIED, evidence, unknown("refused:x"))] == [
        VERIFIED,
        evidence,
        unknown("refused:x"),
    ]


@pytest.mark.parametrize("word", [*Cause, *ReasonKind])
def test_every_word_has_its_meaning_in_one_sentence(word: Any) -> None:
    assert word.meaning[0].isupper()
    assert word.meaning.endswith(".")
    assert "\n" not in word.meaning and "|" not in word.meaning


def test_cause_is_equal_to_its_text_wherever_it_stands() -> None:
    text: str = "timeout"

    assert text == Cause.TIMEOUT
    assert {text: 1}[Cause.TIMEOUT] == 1
    assert not_sent(Cause.TIMEOUT) == not_sent(text)
    assert hash(not_sent(Cause.TIMEOUT)) == hash(not_sent(text))
