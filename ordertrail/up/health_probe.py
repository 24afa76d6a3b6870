"""`python -m ordertrail.up.health_probe URL` exits with 0 if that answers 200: a health check without curl."""

import http.client
import sys
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 4.0


def answers_ok(url: str) -> bool:
    """Whether a GET there is answered with 200 in time; plain HTTP only."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port or 80, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", place.path or "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers_ok(sys.argv[1]) else 1)
