"""The application under the name that `uvicorn app.api:app` expects; all of it lives in `ordertrail`."""

from ordertrail.server.asgi import app

__all__ = ["app"]
