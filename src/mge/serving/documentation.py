"""Descriptions for the OpenAPI document beyond the signatures of the routes."""

from typing import Any

from mge.serving.schemas import Problem
from mge.serving.uploads import FIELD

ABOUT = """\
Classifies photos with a mixture of granularity-specific experts. Each expert sees a photo at a finer granularity than
the one before it; boxes are in pixels of the upright photo.

    curl -F photos=@one.jpg -F photos=@two.jpg http://127.0.0.1:8000/predict
    curl --data-binary @one.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/explain

Every error is `{"error": "one line that says what is wrong and what is accepted"}`.
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


KEY: dict[int | str, dict[str, Any]] = {401: _problem("The key is missing or wrong.")}
FRONT: dict[int | str, dict[str, Any]] = {
    400: _problem("The request has both Transfer-Encoding and Content-Length."),
    421: _problem("The request is meant for a server of another name."),
}
BUSY: dict[int | str, dict[str, Any]] = {503: _problem("Not now.", _RETRY)}
TEXT: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus's text format."}
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    **KEY,
    **FRONT,
    408: _problem("The body did not arrive in time."),
    413: _problem("The body has too many bytes, or too many photos."),
    415: _problem("The body is no photo and no form of photos."),
    422: _problem("The photo cannot be read, or the form or a parameter is wrong."),
    429: _problem("This client has as many photos in work as one may have.", _RETRY),
    500: _problem("The mixture failed on this photo."),
    503: _problem("Every place is taken.", _RETRY),
    504: _problem("The deadline is over."),
}
