"""FastAPI that only validates and echoes: nothing is recorded, nothing is sent anywhere."""

from fastapi import FastAPI, Request, Response

from bench.rivals.order import NEW_ORDER

app = FastAPI()


@app.post("/orders")
async def echo(request: Request) -> Response:
    """Body from `Request` and a `Response` out: about twice as fast as parameters and a response model."""
    order = NEW_ORDER.validate_json(await request.body())
    return Response(NEW_ORDER.dump_json(order), 201, media_type="application/json")
