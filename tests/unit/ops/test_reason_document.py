"""The page of reasons and causes: whole, and the one that stands in docs."""

from ops.reason_document import CAUSE_LINES, OBSERVATION_LINES, REASON_LINES, reasons_page
from ordertrail.domain.reason import Cause, Observation, ReasonKind, parse
from ordertrail.domain.trail import OrderStatus

FORMS = [line.reason for line in REASON_LINES]


def test_every_kind_has_a_line_of_its_own_or_stands_inside_of_one() -> None:
    kinds = [kind for form in FORMS for kind in {form.kind, form.innermost.kind}]

    assert {*kinds} == {*ReasonKind}
    assert [form.text for form in FORMS if form.kind is ReasonKind.FOREIGN] == ["TEXT"]


def test_every_form_is_what_the_parser_reads() -> None:
    assert [parse(str(form)) for form in FORMS] == FORMS


def test_every_cause_has_one_line() -> None:
    assert sorted(line.cause for line in CAUSE_LINES) == sorted(Cause)


def test_every_observation_has_one_line() -> None:
    assert sorted(line.observation for line in OBSERVATION_LINES) == sorted(Observation)


def test_every_status_but_the_first_comes_with_reasons_of_ours() -> None:
    ours = [line for line, form in zip(REASON_LINES, FORMS, strict=True) if form.kind is not ReasonKind.FOREIGN]

    assert {status for line in ours for status in line.statuses} == {*OrderStatus} - {OrderStatus.INITIATED}


def test_no_form_stands_twice_beside_one_status() -> None:
    pairs = [(line.reason, status) for line in REASON_LINES for status in line.statuses]

    assert len(pairs) == len(set(pairs))


def test_page_has_every_line_in_tables_of_five_columns() -> None:
    page, observations = reasons_page().split("## Observations")
    lines = [line for line in page.splitlines() if line.startswith("|")]

    # Two heads with their rules, and the causes that are made of a status.
    assert len(lines) == len(REASON_LINES) + len(CAUSE_LINES) + 2 * 2 + 1
    assert {line.count("|") for line in lines} == {6}
    assert all(f"| `{line.reason}` |" in reasons_page() for line in REASON_LINES)
    assert all(f"| `{line.cause}` | `{line.behind}:` |" in reasons_page() for line in CAUSE_LINES)
    assert all(word.meaning in reasons_page() for word in (*Cause, *ReasonKind, *Observation))
    observed = [line for line in observations.splitlines() if line.startswith("|")]
    assert len(observed) == len(OBSERVATION_LINES) + 2
    assert {line.count("|") for line in observed} == {4}
    assert all(any(line.startswith(f"| `{word}") for line in observed) for word in Observation)


def test_meaning_of_what_is_proved_stands_behind_the_meaning_of_proof() -> None:
    [line] = [line for line in reasons_page().splitlines() if line.startswith("| `proved:absent`")]

    assert f"{ReasonKind.PROVED.meaning} {ReasonKind.ABSENT.meaning}" in line
