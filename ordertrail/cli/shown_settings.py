"""Settings as they may be shown: no spelling of a secret is among them; what cannot be read is not shown at all."""

from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from ordertrail.storage.postgres.address import MASK, shown_address


def shown(name: str, value: Any) -> Any:
    """The value of a setting, as a number, a text or None."""
    if isinstance(value, SecretStr):
        is_address = name.lower().endswith("database_url")
        return shown_address(value.get_secret_value()) if is_address else MASK
    if isinstance(value, str) and name.lower().endswith("_url"):
        return shown_url(value)
    return value if isinstance(value, int | float | None) else str(value)


def shown_url(url: str) -> str:
    """A URL of an exchange or a queue: who calls, and what follows the path, is masked."""
    # A simulated exchange has no secrets, and all of its settings stand behind the question mark.
    if url.startswith(("simulated:", "in_memory:")):
        return url
    try:
        parts = urlsplit(url)
        place = parts.hostname or ""
        port = parts.port
    except ValueError:
        return MASK
    if "@" in parts.path or "\\" in url or (parts.netloc and not place):
        return MASK
    if ":" in place:
        place = f"[{place}]"
    if port is not None:
        place += f":{port}"
    if parts.username is not None or parts.password is not None:
        place = f"{MASK}@{place}"
    query = f"?{MASK}" if parts.query else ""
    fragment = f"#{MASK}" if parts.fragment else ""
    return f"{parts.scheme}:{'//' if parts.netloc else ''}{place}{parts.path}{query}{fragment}"
