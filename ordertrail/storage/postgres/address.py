"""Where PostgreSQL is: the one reader of database URLs, so that every connection of ours understands the same ones.

A URL (`postgresql://…`) or keywords (`host=… dbname=…`), as libpq has them and as providers hand them out. What cannot
be read is said in one sentence that shows no piece of it: any piece may be a piece of the password.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes, urlencode

from typing_extensions import override

from ordertrail.runtime.errors import CannotStart

MASK = "***"
SCHEMES = ("postgresql", "postgres")
PORT_MAX = 65_535
SECRETS = frozenset({"password", "sslpassword"})
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
WRITABLE = frozenset({"any", "primary", "read-write"})
TRUE, FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})

# Read by the driver from a URL of its own, as they are.
_TLS = frozenset({
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslnegotiation",
    "ssl_min_protocol_version", "ssl_max_protocol_version",
})  # fmt: skip
_OURS = frozenset({
    "host", "port", "user", "password", "dbname", "passfile", "application_name", "fallback_application_name",
    "options", "connect_timeout", "target_session_attrs", "client_encoding", "search_path",
})  # fmt: skip
_OTHER_NAMES = {"database": "dbname", "schema": "search_path", "ssl": "sslmode"}
# They say how another driver behaves, or what ours does in any case.
_PASSED_OVER = frozenset({
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "sslcompression",
    "sslsni", "load_balance_hosts", "channel_binding", "connection_limit", "pool_timeout", "supa", "workaround",
})  # fmt: skip
# What these ask for we cannot do, and to pass over it would be to do less than was asked.
_REFUSED_UNLESS: Mapping[str, frozenset[str]] = {
    "gssencmode": frozenset({"disable", "prefer"}),
    "hostaddr": frozenset(),
    "krbsrvname": frozenset(),
    "gsslib": frozenset(),
    "replication": FALSE,
    "require_auth": frozenset(),
    "requirepeer": frozenset(),
    "service": frozenset(),
    "servicefile": frozenset(),
    "sslcrldir": frozenset(),
}

HELP = (
    "It must be like postgresql://USER:PASSWORD@HOST:PORT/DATABASE or host=HOST dbname=DATABASE user=USER; in a URL, "
    "each character of the password but letters and digits is written as % and two hex digits"
)


class _UnreadableError(ValueError):
    """Why, in words of ours alone."""


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """One database on one server or on several of which one is writable. `hosts` are tried in this order."""

    hosts: tuple[tuple[str | None, int | None], ...]
    user: str | None
    password: str | None
    database: str | None
    passfile: str | None
    application_name: str
    options: str | None
    search_path: str
    connect_timeout_seconds: float | None
    tls: Mapping[str, str]
    uses_system_certificates: bool
    shown: str = field(compare=False)

    @override
    def __repr__(self) -> str:
        return f"Address({self.shown})"

    @property
    def place(self) -> str:
        """Hosts, ports and name, for a person."""
        hosts = (f"{host or 'localhost'}{'' if port is None else f':{port}'}" for host, port in self.hosts)
        return f"{','.join(hosts)}/{self.database or self.user or ''}"

    @property
    def tls_url(self) -> str:
        """What the driver reads of TLS, in the only form in which it does."""
        return "postgresql://?" + urlencode(self.tls, quote_via=quote)


def read_address(text: str, *, variable: str = "ORDERTRAIL_DATABASE_URL") -> Address:
    """Read a URL or keywords; CannotStart with one sentence that shows nothing of `text`."""
    try:
        return _address(text.strip())
    except _UnreadableError as error:
        problem = str(error)
    # Outside of the handler, so that no traceback leads back to the text.
    raise CannotStart(f"{variable} cannot be read: {problem}. {HELP}.")


def shown_address(text: str) -> str:
    """A database URL as it may be shown; one that cannot be read is not shown at all."""
    try:
        return _address(text.strip()).shown
    except _UnreadableError:
        return MASK


def _address(text: str) -> Address:
    if not text:
        raise _UnreadableError("it is empty")
    if "\0" in text or not text.isprintable():
        raise _UnreadableError("it has a character that cannot be printed")
    scheme, is_url, rest = text.partition("://")
    if is_url and scheme.lower().partition("+")[0] in SCHEMES:
        given = dict(_of_url(rest))
        shown = f"{scheme}://{_shown_url(given)}"
    elif is_url and scheme.replace("+", "").replace(":", "").isalnum():
        raise _UnreadableError("it is not a URL of PostgreSQL")
    else:
        given = dict(_of_keywords(text))
        shown = " ".join(f"{name}={_quoted(MASK if name in SECRETS else value)}" for name, value in given.items())
    return _made_of(given, shown)


def _made_of(given: Mapping[str, str], shown: str) -> Address:
    for name, allowed in _REFUSED_UNLESS.items():
        if name in given and given[name].lower() not in allowed:
            raise _UnreadableError(f"{name} is not supported")
    if given.get("pgbouncer", "false").lower() in TRUE:
        raise _UnreadableError(
            "pgbouncer=true says that it leads to a pooler in transaction mode, behind which the settings of a session "
            "are lost; take the URL of the server itself, or of the pooler in session mode"
        )
    if given.get("client_encoding", "utf8").lower().replace("-", "") not in {"utf8", "auto", "unicode"}:
        raise _UnreadableError("client_encoding can only be UTF8")
    if given.get("target_session_attrs", "any") not in WRITABLE:
        raise _UnreadableError("target_session_attrs must be read-write, primary or any: every connection writes")
    tls = {name: value for name, value in given.items() if name in _TLS}
    mode = _ssl_mode(tls)
    options = given.get("options")
    uses_system_certificates = tls.get("sslrootcert") == "system"
    if uses_system_certificates and mode not in {None, "verify-full"}:
        raise _UnreadableError("sslrootcert=system goes with sslmode=verify-full alone")
    return Address(
        hosts=_hosts(given.get("host", ""), given.get("port", "")),
        user=given.get("user") or None,
        password=given.get("password") or None,
        database=given.get("dbname") or None,
        passfile=given.get("passfile") or None,
        application_name=given.get("application_name") or given.get("fallback_application_name") or "ordertrail",
        options=options,
        search_path=given.get("search_path") or _search_path_of(options or "") or "public",
        connect_timeout_seconds=_connect_timeout(given.get("connect_timeout", "")),
        tls=tls if mode is None else {**tls, "sslmode": mode},
        uses_system_certificates=uses_system_certificates,
        shown=shown,
    )


def _ssl_mode(tls: Mapping[str, str]) -> str | None:
    mode = tls.get("sslmode")
    if mode is None or mode in SSL_MODES:
        return mode
    # As other drivers spell it: `ssl=true`, and `no-verify` for what libpq calls require.
    if mode.lower() in TRUE or mode == "no-verify":
        return "require"
    if mode.lower() in FALSE:
        return "disable"
    raise _UnreadableError(f"sslmode must be one of {', '.join(SSL_MODES)}")


def _connect_timeout(text: str) -> float | None:
    """In seconds; none, 0 or less: as long as a statement may take."""
    if not text:
        return None
    try:
        seconds = int(text)
    except ValueError:
        raise _UnreadableError("connect_timeout must be a whole number of seconds") from None
    return float(seconds) if seconds > 0 else None


def _hosts(hosts_text: str, ports_text: str) -> tuple[tuple[str | None, int | None], ...]:
    """Each host with its port, as libpq pairs them: one port is for all hosts."""
    hosts = [host.strip() or None for host in hosts_text.split(",")]
    ports = [_port(port.strip()) for port in ports_text.split(",")]
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise _UnreadableError("it has more ports than hosts, or fewer")
    for host in hosts:
        if host is not None and not host.startswith(("/", "@")) and not _is_host(host):
            raise _UnreadableError("what stands for the host is none, or the password has an @, / or # in it")
    return tuple(zip(hosts, ports, strict=True))


def _is_host(host: str) -> bool:
    """A name or an address, IPv6 with its zone too."""
    return all(character.isalnum() or character in "-._:%" for character in host)


def _port(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= PORT_MAX:
        raise _UnreadableError("the port is not a number from 1 to 65535, or the password has an @, :, / or ? in it")
    return int(text)


def _search_path_of(options: str) -> str | None:
    """The last `search_path` of `-c name=value`, `-cname=value` and `--name=value`."""
    found = None
    words = _words_of_options(options)
    for word in words:
        setting = next(words, "") if word == "-c" else word.removeprefix("-c").removeprefix("--")
        name, is_setting, value = setting.partition("=")
        if is_setting and name.replace("-", "_").lower() == "search_path":
            found = value
    return found


def _words_of_options(options: str) -> Iterator[str]:
    """Split at blanks; a backslash takes the next character as it is."""
    word, is_word = "", False
    characters = iter(options)
    for character in characters:
        if character == " ":
            if is_word:
                yield word
            word, is_word = "", False
        else:
            word += next(characters, "") if character == "\\" else character
            is_word = True
    if is_word:
        yield word


def _of_url(rest: str) -> Iterator[tuple[str, str]]:
    """Names and values of what follows `://`, in which nothing but the separators is special, `#` neither."""
    rest, _, query = rest.partition("?")
    authority, _, database = rest.partition("/")
    credentials, has_credentials, places = authority.partition("@") if "@" in authority else ("", "", authority)
    if "@" in places or "@" in database or ("@" in query and authority and not has_credentials):
        raise _UnreadableError("an @ stands where none can; one of the password is written as %40, a / as %2F")
    if has_credentials:
        user, has_password, password = credentials.partition(":")
        yield "user", _decoded(user)
        if has_password:
            yield "password", _decoded(password)
    hosts, ports = [], []
    for place in places.split(","):
        host, port = _host_and_port(place)
        hosts.append(_decoded(host))
        ports.append(_decoded(port))
    if any(hosts):
        yield "host", ",".join(hosts)
    if any(ports):
        yield "port", ",".join(ports)
    if database:
        yield "dbname", _decoded(database)
    for pair in query.split("&") if query else ():
        name, is_pair, value = pair.partition("=")
        if not is_pair:
            raise _UnreadableError("a parameter has no value, or the password has a ? or & in it")
        yield _known(_decoded(name)), _decoded(value)


def _host_and_port(place: str) -> tuple[str, str]:
    if not place.startswith("["):
        host, _, port = place.partition(":")
        return host, port
    host, closed, port = place[1:].partition("]")
    if not closed or (port and not port.startswith(":")):
        raise _UnreadableError("an IPv6 address is written in brackets")
    return host, port[1:]


def _decoded(text: str) -> str:
    for piece in text.split("%")[1:]:
        if len(piece) < 2 or not all(character in "0123456789abcdefABCDEF" for character in piece[:2]):
            raise _UnreadableError("a % is not followed by two hex digits; one that is meant is written as %25")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise _UnreadableError("what is written with % is not UTF-8") from None
    if "\0" in decoded:
        raise _UnreadableError("%00 cannot stand in it")
    return decoded


def _of_keywords(text: str) -> Iterator[tuple[str, str]]:
    """Names and values of `name=value name = 'value with blanks'`; a backslash takes the next character as it is."""
    position = 0
    while position < len(text):
        name, is_pair, _ = text[position:].partition("=")
        if not is_pair:
            raise _UnreadableError("it is neither a URL of PostgreSQL nor keywords with values")
        position += len(name) + 1
        while text[position : position + 1] == " ":
            position += 1
        value, position = _value_of_keyword(text, position)
        yield _known(name.strip()), value
        while text[position : position + 1] == " ":
            position += 1


def _value_of_keyword(text: str, position: int) -> tuple[str, int]:
    is_quoted = text[position : position + 1] == "'"
    end = "'" if is_quoted else " "
    position += is_quoted
    value = ""
    while position < len(text) and text[position] != end:
        position += text[position] == "\\"
        value += text[position : position + 1]
        position += 1
    if not is_quoted:
        return value, position
    if position >= len(text):
        raise _UnreadableError("a quoted value has no end")
    return value, position + 1


def _known(name: str) -> str:
    name = _OTHER_NAMES.get(name, name)
    if name in _OURS or name in _TLS or name in _PASSED_OVER or name in _REFUSED_UNLESS or name == "pgbouncer":
        return name
    # Its name is not shown: it may be what follows an & in the password.
    raise _UnreadableError(f"it has a parameter that is none of {', '.join(sorted(_OURS | _TLS))}")


def _quoted(value: str) -> str:
    if value and not any(character in " '\\" for character in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _shown_url(given: Mapping[str, str]) -> str:
    """The URL again, from what was read."""
    rest = {name: MASK if name in SECRETS else value for name, value in given.items()}
    user, password = rest.pop("user", ""), rest.pop("password", None)
    credentials = quote(user, safe="") + ("" if password is None else f":{MASK}")
    hosts = [host if ":" not in host else f"[{host}]" for host in rest.pop("host", "").split(",")]
    ports = rest.pop("port", "").split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    places = [
        quote(host, safe="[]:") + (f":{quote(port, safe='')}" if port else "")
        for host, port in zip(hosts, ports, strict=False)
    ]
    database = quote(rest.pop("dbname", ""), safe="")
    query = urlencode(rest, quote_via=quote, safe="/*,")
    return (
        (f"{credentials}@" if credentials else "")
        + ",".join(places)
        + (f"/{database}" if database else "")
        + (f"?{query}" if query else "")
    )
