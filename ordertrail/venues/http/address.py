"""The venue's address, as the operator writes it."""

from urllib.parse import urlsplit

from ordertrail.runtime.errors import CannotStart

_SETTING = "ORDERTRAIL_EXCHANGE_URL"


def base_of(url: str) -> str:
    """The URL without a closing slash, to append paths to; CannotStart with a sentence that repeats no secret."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise CannotStart(f"{_SETTING} is no URL, or its port is none; write http://HOST:PORT.") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise CannotStart(f"{_SETTING} must be http://HOST:PORT or https://HOST.")
    if parts.username is not None or parts.password is not None:
        raise CannotStart(f"{_SETTING} must hold no user name and no password, for it is shown in settings and logs.")
    if parts.query or parts.fragment:
        raise CannotStart(f"{_SETTING} must end with its path; it takes no query and no fragment.")
    if not url.isascii() or any(character.isspace() for character in url):
        raise CannotStart(f"{_SETTING} must be visible ASCII characters alone.")
    return url.rstrip("/")
