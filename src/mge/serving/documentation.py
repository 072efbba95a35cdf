"""Descriptions for the OpenAPI document beyond the signatures of the routes."""

from typing import Any

from mge.serving.schemas import Problem
from mge.serving.uploads import FIELD

ABOUT = """\
Image classification with a mixture of granularity-specific experts. Each expert sees the photo at a finer granularity
than the one before it. Boxes are in pixels of the upright photo.

    curl -F photos=@one.jpg -F photos=@two.jpg http://127.0.0.1:8000/predict
    curl --data-binary @one.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/explain

Errors have the form `{"error": "one line: what is wrong and what is accepted"}`.
"""

_PHOTO: dict[str, Any] = {"type": "string", "format": "binary", "description": "JPEG, PNG, WebP, GIF, HEIC, AVIF, …"}
_RAW = {"image/*": {"schema": _PHOTO}, "application/octet-stream": {"schema": _PHOTO}}


def _form(max_photos: int | None) -> dict[str, Any]:
    photos: dict[str, Any] = {"type": "array", "items": _PHOTO, "minItems": 1}
    if max_photos is not None:
        photos["maxItems"] = max_photos
    schema = {"type": "object", "properties": {FIELD: photos}, "required": [FIELD], "additionalProperties": False}
    return {"multipart/form-data": {"schema": schema}}


PHOTO_BODY = {"requestBody": {"required": True, "content": {**_form(1), **_RAW}}}
PHOTOS_BODY = {"requestBody": {"required": True, "content": {**_form(None), **_RAW}}}

_RETRY = {"headers": {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}}


def _problem(description: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"model": Problem, "description": description, **(more or {})}


KEY: dict[int | str, dict[str, Any]] = {401: _problem("The API key is missing or invalid.")}
FRONT: dict[int | str, dict[str, Any]] = {
    400: _problem("The request has both Transfer-Encoding and Content-Length."),
    421: _problem("The Host header is not allowed."),
}
BUSY: dict[int | str, dict[str, Any]] = {503: _problem("Temporarily unavailable.", _RETRY)}
TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text format."}
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    **KEY,
    **FRONT,
    408: _problem("The body did not arrive in time."),
    413: _problem("The body has too many bytes, or too many photos."),
    415: _problem("The body is neither a photo nor a form of photos."),
    422: _problem("The photo cannot be read, or the form or a parameter is invalid."),
    429: _problem("Too many photos of this client are in flight.", _RETRY),
    500: _problem("The model failed on this photo."),
    503: _problem("The queue is full.", _RETRY),
    504: _problem("The deadline was exceeded."),
}
