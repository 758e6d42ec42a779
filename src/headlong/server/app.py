"""The application: routes, and around them what holds for every request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from headlong import __version__
from headlong.errors import HeadlongError
from headlong.server.access import HostCheck, KeyCheck
from headlong.server.api_error import ApiError, error_of, error_response
from headlong.server.body_limit import BodyLimit
from headlong.server.openai.routes import openai_routes
from headlong.server.openapi import describe
from headlong.server.request_body import validation_error
from headlong.server.request_log import RequestLog, record_of
from headlong.server.routes.absent import absent_routes
from headlong.server.routes.completion import completion_routes
from headlong.server.routes.health import health_routes
from headlong.server.routes.page import page_routes
from headlong.server.routes.status import status_routes
from headlong.server.routes.tokens import token_routes
from headlong.server.service import Service
from headlong.server.sse import ClientGone

__all__ = ["create_app"]


def create_app(service: Service, *, keys: Sequence[str] = ()) -> FastAPI:
    """The app of a service, whose worker somebody else starts and stops; ``keys`` to ask for."""
    app = FastAPI(
        title="Headlong",
        version=__version__,
        docs_url=None,  # the pages would load scripts from elsewhere
        redoc_url=None,
        middleware=_layers(service, keys),
    )
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HeadlongError, _library_error)
    app.add_exception_handler(ClientGone, _gone)
    for routes in (
        page_routes, health_routes, status_routes, completion_routes, token_routes, openai_routes,
    ):  # fmt: skip
        app.include_router(routes(service))
    app.include_router(absent_routes())
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    return app


def _layers(service: Service, keys: Sequence[str]) -> list[Middleware]:
    """What a request passes on its way to a route, outermost first."""
    settings = service.settings
    layers = [Middleware(RequestLog, metrics=service.metrics)]
    if settings.loopback and not keys and "*" not in settings.cors_origins:
        layers.append(Middleware(HostCheck, origins=settings.cors_origins))
    if settings.cors_origins:
        # Before the keys: a browser asks without one whether it may send one.
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                max_age=600,
            )
        )
    layers.append(Middleware(KeyCheck, keys=keys))
    layers.append(Middleware(BodyLimit, most=settings.max_request_size << 20))
    return layers


async def _http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ApiError):
        return error_response(error)
    assert isinstance(error, HTTPException)
    path = request.url.path[:200]
    if error.status_code == 404:
        told = ApiError(404, f"there is nothing at {path}.", code="not_found")
    elif error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        why = f"{path} takes {allowed}, not {request.method}."
        told = ApiError(405, why, code="method_not_allowed", headers=error.headers)
    else:
        told = ApiError(error.status_code, str(error.detail), headers=error.headers)
    return error_response(told)


async def _unfit(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return error_response(validation_error(error))


async def _library_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HeadlongError)
    return error_response(error_of(error))


async def _gone(request: Request, error: Exception) -> Response:
    record_of(request).gone = True
    return Response(status_code=499)  # nobody reads it
