"""The application: routes, and around them what holds for every request."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from headlong import __version__
from headlong.errors import HeadlongError
from headlong.server.api_error import ApiError, error_of, error_response
from headlong.server.openai.routes import openai_routes
from headlong.server.request_body import validation_error
from headlong.server.request_log import RequestLog, record_of
from headlong.server.routes.completion import completion_routes
from headlong.server.routes.health import health_routes
from headlong.server.service import Service
from headlong.server.sse import ClientGone

__all__ = ["create_app"]


def create_app(service: Service) -> FastAPI:
    """The app of a service, whose worker somebody else starts and stops."""
    app = FastAPI(
        title="Headlong",
        version=__version__,
        docs_url=None,  # the pages would load scripts from elsewhere
        redoc_url=None,
        middleware=[Middleware(RequestLog)],
    )
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HeadlongError, _library_error)
    app.add_exception_handler(ClientGone, _gone)
    for routes in (health_routes, completion_routes, openai_routes):
        app.include_router(routes(service))
    return app


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
