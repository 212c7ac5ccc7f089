"""Which path is answered by what, and who may call from a browser."""

import secrets
import time
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tether.access import key
from tether.edge.openai import error as errors
from tether.edge.openai import model as models
from tether.edge.openai.answer import dump
from tether.edge.openai.request import Call, read_chat, read_completion, refuse_embeddings
from tether.errors import TetherError
from tether.name import model_and_version
from tether.registry.catalogue import Catalogue
from tether_bridge import metrics
from tether_bridge.endpoint import Desk, InferEndpoint
from tether_bridge.exchange import HEADERS, JSON

EXPOSED = ["x-request-id", "retry-after-ms", "retry-after", "x-should-retry", "x-tether-reason"]
PREFLIGHT_S = 600  # how long a browser may remember what it may do
_MESSAGES = {
    404: ("Unknown request URL: {}.", "unknown_url"),
    405: ("{} is not for this method.", "method_not_allowed"),
}

Handler = Callable[[Request], Awaitable[Response]]


def build(desk: Desk, catalogue: Catalogue) -> Starlette:
    """Return the ASGI application."""
    return Starlette(
        routes=[
            Route("/v1/chat/completions", InferEndpoint(desk, read_chat), methods=["POST"]),
            Route("/v1/completions", InferEndpoint(desk, read_completion), methods=["POST"]),
            Route("/v1/embeddings", InferEndpoint(desk, _no_embeddings), methods=["POST"]),
            Route("/v1/models", _list_models(catalogue)),
            Route("/v1/models/{model_id}", _show_model(catalogue)),
            Route("/healthz", _health(desk)),
        ],
        middleware=_cors(desk.config.cors_origins),
        exception_handlers={HTTPException: _refuse},
    )


def _cors(origins: tuple[str, ...]) -> list[Middleware]:
    """Let the pages of the named origins in; nothing is sent where none is named."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],  # OpenAI's clients send a dozen of their own
            expose_headers=EXPOSED,
            max_age=PREFLIGHT_S,
        )
    ]


def _no_embeddings(body: bytes, _: str) -> Call:
    raise refuse_embeddings(body)


def _list_models(catalogue: Catalogue) -> Handler:
    async def handle(request: Request) -> Response:
        _authenticate(catalogue, request)
        return _json(request, 200, dump(models.listing(catalogue.models)))

    return _guarded(handle)


def _show_model(catalogue: Catalogue) -> Handler:
    async def handle(request: Request) -> Response:
        _authenticate(catalogue, request)
        asked = request.path_params["model_id"]
        found = catalogue.model(*model_and_version(asked))
        return _json(request, 200, dump(models.describe(found, asked)))

    return _guarded(handle)


def _health(desk: Desk) -> Handler:
    async def handle(request: Request) -> Response:
        ok = desk.upstream.ready and not desk.draining
        return _json(request, 200 if ok else 503, dump({"status": "ok" if ok else "unavailable"}))

    return handle


def _guarded(handle: Handler) -> Handler:
    """Turn errors of the closed set into answers."""

    async def guarded(request: Request) -> Response:
        try:
            return await handle(request)
        except TetherError as error:
            headers = dict(errors.headers(error, keyed=True))
            return _json(request, errors.status(error), errors.body(error), headers)

    return guarded


async def _refuse(request: Request, error: Exception) -> Response:
    """Answer a path or method that there is not."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    text, code = _MESSAGES.get(status, ("{} cannot be answered.", "invalid_request"))
    where = f"{request.method} {request.url.path}"
    described = {"message": text.format(where), "type": "invalid_request_error", "param": None, "code": code}
    return _json(request, status, dump({"error": described}), getattr(error, "headers", None))


def _authenticate(catalogue: Catalogue, request: Request) -> None:
    catalogue.authenticate(key.from_header(request.headers.get("authorization")), time.time())


def _json(request: Request, status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
    route = request.scope.get("route")
    metrics.REQUESTS.labels(getattr(route, "path", "other"), str(status)).inc()
    named = {"x-request-id": f"req-{secrets.token_hex(12)}", **dict(HEADERS), **(headers or {})}
    return Response(body, status, named, JSON)
