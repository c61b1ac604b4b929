"""Serving the pictures of products, `GET /images/{sha256}`: from where they are kept, past the database."""

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tds_db.images import ImageStore, content_type

# What a name stands for can never change.
FOR_EVER = "public, max-age=31536000, immutable"


def image_routes(place: str) -> list[Route]:
    """The routes under which pictures are served.

    Args:
        place: where they are kept, see `ImageStore`.

    Raises:
        TdsError: there is no such kind of place.
    """
    store = ImageStore(place)

    async def image(request: Request) -> Response:
        """A picture by its SHA-256; 304 to whoever has it, 404 where there is none."""
        sha256: str = request.path_params["sha256"]
        body = await run_in_threadpool(store.get, sha256)
        if body is None or (kind := content_type(body)) is None:
            raise HTTPException(404)
        headers = {"etag": f'"{sha256}"', "cache-control": FOR_EVER, "x-content-type-options": "nosniff"}
        if _has(request.headers.get("if-none-match", ""), headers["etag"]):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=kind, headers=headers)

    return [Route("/images/{sha256}", image, methods=["GET"])]


def _has(known: str, etag: str) -> bool:
    return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in known.split(","))
