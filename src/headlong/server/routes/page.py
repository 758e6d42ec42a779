"""The chat page at ``/``."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from headlong.server.page import chat_page
from headlong.server.service import Service

__all__ = ["page_routes"]


def page_routes(service: Service) -> APIRouter:
    """The route.  It asks for no key: the page has no secrets, and what it asks for carries one."""
    router = APIRouter(include_in_schema=False)

    async def page(request: Request) -> Response:
        """The document, unless the browser has it already."""
        made = chat_page()
        headers = {
            "Content-Security-Policy": made.content_security_policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-cache",  # to be kept, but asked about
            "ETag": made.etag,
        }
        if request.headers.get("if-none-match") == made.etag:
            return Response(status_code=304, headers=headers)
        return Response(made.html, headers=headers, media_type="text/html; charset=utf-8")

    router.add_api_route("/", page, methods=["GET", "HEAD"])
    return router
