"""The API's document to be tried out: a page and its assets, all of them ours to serve."""

from collections.abc import Mapping
from importlib.resources import files

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

PATH = "/docs"
ASSETS = f"{PATH}/{{name}}"
HEADERS = {
    # Swagger UI sets styles of its own on what it shows, and has pictures in its style sheet.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
# The name of an asset: the package it is in, and its type.
_FILES: Mapping[str, tuple[str, str]] = {
    "start.js": ("tds_receiver.api", "text/javascript"),
    "swagger-ui-bundle.js": ("fastapi_swagger.resources", "text/javascript"),
    "swagger-ui.css": ("fastapi_swagger.resources", "text/css"),
    "favicon-32x32.png": ("fastapi_swagger.resources", "image/png"),
}


async def page(_: Request) -> Response:
    """The page."""
    return Response(
        files("tds_receiver.api").joinpath("docs.html").read_bytes(), media_type="text/html", headers=HEADERS
    )


async def asset(request: Request) -> Response:
    """A script, a style sheet or a picture of the page.

    Raises:
        HTTPException: it has none of that name.
    """
    name = request.path_params["name"]
    if name not in _FILES:
        raise HTTPException(404)
    package, media_type = _FILES[name]
    kept = {"cache-control": "public, max-age=3600"}
    return Response(files(package).joinpath(name).read_bytes(), media_type=media_type, headers=HEADERS | kept)
