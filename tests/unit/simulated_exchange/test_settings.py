import pytest

from simulated_exchange.capabilities import PROFILES, Profile, parse_profile
from simulated_exchange.faults import INSTRUMENTS, Faults, PlaceFault, parse_faults


def test_what_is_left_out_of_faults_is_no_fault() -> None:
    assert parse_faults("{}") == Faults()
    assert parse_faults('{"place": {"lost": 1}}').place.accept == 0


def test_instruments_are_twelve_characters() -> None:
    assert {len(name) for name in INSTRUMENTS} == {12}
    assert set(INSTRUMENTS.values()) == set(PlaceFault) - {PlaceFault.ACCEPT, PlaceFault.ERROR_BEFORE}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"place": {"lost": -1}}',
        '{"place": {"lost": "1"}}',
        '{"place": {"lost": true}}',
        '{"place": {"lost": 1e400}}',
        '{"place": {"misplaced": 1}}',
        '{"place": {}}',
        '{"place": {"accept": 0, "lost": 0}}',
        '{"ask": {"no_answer": 1.1}}',
        '{"ask": {"hide_seconds": -1}}',
        '{"latency_ms": -1}',
        '{"latency_ms": null}',
        '{"late_seconds": 100000}',
        '{"socket": {"cut": 2}}',
        '{"sockets": {}}',
    ],
)
def test_faults_are_taken_strictly(text: str) -> None:
    with pytest.raises(ValueError, match=r"^The faults cannot be used: .+\.$"):
        parse_faults(text)


def test_profile_has_a_name_or_is_json() -> None:
    assert parse_profile("while_open") is PROFILES["while_open"]
    assert parse_profile('{"client_order_id_unique": 60}') == Profile(client_order_id_unique=60.0)
    assert parse_profile('{"visible_within_seconds": null}').visible_within_seconds is None


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "{",
        '{"client_order_id_unique": "sometimes"}',
        '{"client_order_id_unique": 0}',
        '{"client_order_id_unique": true}',
        '{"accepts_within_seconds": -1}',
        '{"honours_accept_by": 1}',
        '{"epoch": "e"}',
        '{"ask_covers": "some"}',
    ],
)
def test_profile_is_taken_strictly(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(There is no profile|The profile cannot be used: ).+\.$"):
        parse_profile(text)
