"""Database URLs as providers hand them out, and that no spelling of one shows its password."""

import traceback
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordertrail.runtime.errors import CannotStart
from ordertrail.storage.postgres.address import read_address, shown_address

CANARY = "kN4rY"

# fmt: off
# What the providers' own consoles show, with other names; the password is always `p@ss/w#rd`.
PROVIDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "neon": (
        ("postgresql://neondb_owner:p%40ss%2Fw%23rd@ep-cool-1234.eu-central-1.aws.neon.tech/neondb"
        "?sslmode=require&channel_binding=require"),
        {"hosts": (("ep-cool-1234.eu-central-1.aws.neon.tech", None),),
         "database": "neondb", "tls": {"sslmode": "require"}},
    ),
    "neon without SNI": (
        "postgresql://u:p%40ss%2Fw%23rd@host.neon.tech/neondb?sslmode=require&options=endpoint%3Dep-cool-1234",
        {"options": "endpoint=ep-cool-1234", "search_path": "public"},
    ),
    "supabase": (
        "postgresql://postgres.abcdefgh:p%40ss%2Fw%23rd@aws-0-eu-west-1.pooler.supabase.com:5432/postgres",
        {"hosts": (("aws-0-eu-west-1.pooler.supabase.com", 5432),), "user": "postgres.abcdefgh"},
    ),
    "rds": (
        ("postgresql://app:p%40ss%2Fw%23rd@db.c9akciq32.eu-west-1.rds.amazonaws.com:5432/app"
        "?sslmode=verify-full&sslrootcert=/etc/ssl/rds.pem"),
        {"tls": {"sslmode": "verify-full", "sslrootcert": "/etc/ssl/rds.pem"}},
    ),
    "heroku": (
        "postgres://uabc:p%40ss%2Fw%23rd@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d12?ssl=true",
        {"tls": {"sslmode": "require"}, "database": "d12"},
    ),
    "cloud sql, socket": (
        "postgresql://app:p%40ss%2Fw%23rd@/app?host=/cloudsql/project:region:instance",
        {"hosts": (("/cloudsql/project:region:instance", None),)},
    ),
    "cloud sql, keywords": (
        ("host=10.1.2.3 port=5432 user=app password='p@ss/w#rd' dbname=app"
        " sslmode=verify-ca sslrootcert=ca.pem sslcert=c.pem sslkey=k.pem"),
        {"tls": {"sslmode": "verify-ca", "sslrootcert": "ca.pem", "sslcert": "c.pem", "sslkey": "k.pem"}},
    ),
    "azure": (
        "host=x.postgres.database.azure.com port=5432 dbname=postgres user=app@x password=p@ss/w#rd sslmode=require",
        {"user": "app@x", "hosts": (("x.postgres.database.azure.com", 5432),)},
    ),
    "digitalocean": (
        "postgresql://doadmin:p%40ss%2Fw%23rd@db-do-user-1-0.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
        {"hosts": (("db-do-user-1-0.b.db.ondigitalocean.com", 25060),)},
    ),
    "render": ("postgres://u:p%40ss%2Fw%23rd@dpg-abc-a/db", {"hosts": (("dpg-abc-a", None),)}),
    "aiven": (
        "postgres://avnadmin:p%40ss%2Fw%23rd@pg-1.aivencloud.com:12345/defaultdb?sslmode=require",
        {"user": "avnadmin"},
    ),
    "timescale": (
        "postgres://tsdbadmin:p%40ss%2Fw%23rd@abc.tsdb.cloud.timescale.com:30000/tsdb?sslmode=require",
        {"database": "tsdb"},
    ),
    "cockroach": (
        ("postgresql://u:p%40ss%2Fw%23rd@free-tier.cockroachlabs.cloud:26257/defaultdb"
        "?sslmode=verify-full&options=--cluster%3Dmy-1"),
        {"options": "--cluster=my-1"},
    ),
    "patroni": (
        ("postgresql://u:p%40ss%2Fw%23rd@pg1:5432,pg2:5433,[fd00::3]/db"
        "?target_session_attrs=read-write&connect_timeout=3"),
        {"hosts": (("pg1", 5432), ("pg2", 5433), ("fd00::3", None)), "connect_timeout_seconds": 3.0},
    ),
    "system certificates": (
        "postgresql://u:p%40ss%2Fw%23rd@h/db?sslmode=verify-full&sslrootcert=system",
        {"uses_system_certificates": True},
    ),
    "search path": (
        "postgresql://u:p%40ss%2Fw%23rd@h/db?options=-c%20statement_timeout%3D5s%20-csearch_path%3Dtrading",
        {"search_path": "trading"},
    ),
    "name": ("postgresql://u:p%40ss%2Fw%23rd@h/db?application_name=bots", {"application_name": "bots"}),
    "sqlalchemy": ("postgresql+asyncpg://u:p%40ss%2Fw%23rd@h/db", {"database": "db"}),
    "keywords with blanks": (r"host = h  user=u password = 'p@ss/w#rd' dbname='my \'db'", {"database": "my 'db"}),
    "one port for several hosts": ("host=a,b port=6432 password=p@ss/w#rd", {"hosts": (("a", 6432), ("b", 6432))}),
    "plain #": ("postgresql://u:p%40ss%2Fw#rd@h/db", {"database": "db"}),
}
# fmt: on


@pytest.mark.parametrize("provider", PROVIDERS)
def test_urls_of_providers_are_read(provider: str) -> None:
    text, wanted = PROVIDERS[provider]

    address = read_address(text)

    assert {name: getattr(address, name) for name in wanted} == wanted
    assert address.password == "p@ss/w#rd"
    assert "p@ss" not in repr(address) and "w#rd" not in repr(address) and "w%23rd" not in repr(address)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_is_shown_reads_as_the_same_address(provider: str) -> None:
    address = read_address(PROVIDERS[provider][0])

    again = read_address(address.shown)

    assert again.password == "***"
    assert again.hosts == address.hosts
    assert again.place == address.place


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"postgresql://u:{CANARY}@x@h/d", "@"),
        (f"postgresql://u:{CANARY}/x@h/d", "%2F"),
        (f"postgresql://u:12/{CANARY}@h/d", "@"),
        (f"postgresql://u:%zz{CANARY}@h/d", "%"),
        (f"postgresql://u:%ff{CANARY}@h/d", "UTF-8"),
        (f"postgresql://u:%00{CANARY}@h/d", "%00"),
        (f"postgresql://u:{CANARY}?x@h/d", "@"),
        (f"postgresql://u:12?user={CANARY}@h/d", "@"),
        (f"postgresql://u:p@h:{CANARY}/d", "port"),
        ("postgresql://u:p@h:99999/d", "port"),
        (f"postgresql://u@h/d?password=a&{CANARY}=b", "parameter"),
        (f"postgresql://u@h/d?password=a&{CANARY}", "parameter"),
        (f"host=h password=a {CANARY}", "keywords"),
        (f"host=h password=a {CANARY}=b", "parameter"),
        (f"host=h password='{CANARY}", "end"),
        (f"mysql://u:{CANARY}@h/d", "PostgreSQL"),
        (f"jdbc:postgresql://u:{CANARY}@h/d", "PostgreSQL"),
        ("postgresql://u:p@h/d?sslmode=maybe", "sslmode"),
        ("postgresql://u:p@h/d?sslmode=require&sslrootcert=system", "system"),
        ("postgresql://u:p@h/d?target_session_attrs=standby", "read-write"),
        ("postgresql://u:p@h/d?service=x", "service is not supported"),
        ("postgresql://u:p@h/d?gssencmode=require", "gssencmode is not supported"),
        ("postgresql://u:p@h:6543/d?pgbouncer=true", "transaction mode"),
        ("postgresql://u:p@h/d?connect_timeout=soon", "connect_timeout"),
        ("host=a,b port=1,2,3", "ports"),
        ("", "empty"),
        (f"postgresql://u:{CANARY}\n@h/d", "printed"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_without_a_piece_of_it(text: str, says: str) -> None:
    with pytest.raises(CannotStart) as caught:
        read_address(text)

    sentence = str(caught.value)
    assert says in sentence
    assert sentence.startswith("ORDERTRAIL_DATABASE_URL cannot be read: ")
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert shown_address(text) == "***"


NOISE = st.text(alphabet=st.sampled_from("@:/?#%&=' \\[],.;*a1é"), max_size=6)
URLS = st.builds(
    lambda scheme, user, before, after, host, query: f"{scheme}://{user}:{before}{CANARY}{after}@{host}/db{query}",
    st.sampled_from(["postgres", "postgresql", "postgresql+psycopg2"]),
    st.sampled_from(["u", "u%40x", ""]),
    NOISE,
    NOISE,
    st.sampled_from(["h", "h:5432", "a,b:1", "[::1]:5"]),
    st.sampled_from(["", "?sslmode=require", "?application_name=x", "?host=/tmp"]),
)
KEYWORDS = st.builds(
    lambda name, quote, before, after, rest: f"host=h {name}={quote}{before}{CANARY}{after}{quote} {rest}",
    st.sampled_from(["password", "sslpassword", "passw\\ord"]),
    st.sampled_from(["", "'"]),
    NOISE,
    NOISE,
    st.sampled_from(["", "dbname=x", "user=u sslmode=require"]),
)
IN_QUERY = st.builds(
    lambda name, before, after: f"postgresql://h/db?sslmode=require&{name}={before}{CANARY}{after}",
    st.sampled_from(["password", "sslpassword", "pass%77ord"]),
    NOISE,
    NOISE,
)


@settings(max_examples=2000, deadline=None, derandomize=True, database=None)
@given(text=st.one_of(URLS, KEYWORDS, IN_QUERY))
def test_no_spelling_of_a_password_is_shown(text: str) -> None:
    shown = [shown_address(text)]
    try:
        address = read_address(text)
    except CannotStart as error:
        shown += traceback.format_exception(error)
    else:
        shown += [repr(address), address.place]

    assert not [each for each in shown if CANARY in each]
