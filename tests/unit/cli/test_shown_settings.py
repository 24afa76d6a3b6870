"""`ordertrail settings` and the line of the start show no spelling of a secret."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from ordertrail.cli.shown_settings import shown

CANARY = "kN4rY"


@pytest.mark.parametrize(
    ("text", "is_shown_as"),
    [
        (f"postgresql://u:{CANARY}@h:5432/d", "postgresql://u:***@h:5432/d"),
        (f"postgresql://u@h/d?password={CANARY}&sslmode=require", "postgresql://u:***@h/d?sslmode=require"),
        (f"postgresql://u@h/d?sslkey=k.pem&sslpassword={CANARY}", "postgresql://u@h/d?sslkey=k.pem&sslpassword=***"),
        (f"host=h user=u password={CANARY} dbname=d", "host=h user=u password=*** dbname=d"),
        (f"host=h password='{CANARY} with blanks' dbname=d", "host=h password=*** dbname=d"),
        (f"postgresql://u:{CANARY}@x@h/d", "***"),
    ],
)
def test_database_url_is_shown_without_its_password(text: str, is_shown_as: str) -> None:
    assert shown("database_url", SecretStr(text)) == is_shown_as
    assert shown("owner_database_url", SecretStr(text)) == is_shown_as


@pytest.mark.parametrize(
    ("url", "is_shown_as"),
    [
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
        (f"https://user:{CANARY}@exchange:8443/v1", "https://***@exchange:8443/v1"),
        (f"https://{CANARY}@exchange/v1", "https://***@exchange/v1"),
        (f"https://exchange/v1?key={CANARY}", "https://exchange/v1?***"),
        (f"https://exchange/v1#{CANARY}", "https://exchange/v1#***"),
        (f"nats://u:{CANARY}@[::1]:4222", "nats://***@[::1]:4222"),
        (f"https://u:{CANARY}/x@exchange/", "***"),
        (f"https://u:{CANARY}@exchange:port/", "***"),
        ("simulated:", "simulated:"),
        ("in_memory:?latency_ms=5", "in_memory:?latency_ms=5"),
    ],
)
def test_url_is_shown_without_what_may_be_secret(url: str, is_shown_as: str) -> None:
    assert shown("exchange_url", url) == is_shown_as


def test_secret_that_is_no_address_is_never_shown() -> None:
    assert shown("alert_secret", SecretStr(f"user={CANARY}")) == "***"


def test_all_else_is_shown_as_it_is() -> None:
    assert [shown("x", value) for value in (1, 2.5, None, True, Path("/a"), "b")] == [1, 2.5, None, True, "/a", "b"]
