"""Parsing of the photos in the body of a request: the body itself, or the files of a form."""

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from mge.serving.limits import Refusal

FIELD = "photos"
MAX_NAME = 200  # characters of a file's name repeated in a response
ACCEPTED = (
    "accepted: a photo as the body (such as Content-Type: image/jpeg), or a multipart/form-data form with files named "
    f"{FIELD}"
)


class Upload(NamedTuple):
    """A file sent by a client."""

    name: str
    content: bytes


def read_uploads(body: bytes, *, content_type: str, max_photos: int) -> list[Upload]:
    """Parse the photos of a request.

    Args:
        body: The whole body.
        content_type: The Content-Type header.
        max_photos: Largest number of photos.

    Raises:
        Refusal: 415 if the body is of another type, 422 if it is damaged or has no photo, 413 for too many.
    """
    kind, parameters = parse_options_header(content_type)
    if kind.startswith(b"image/") or kind == b"application/octet-stream":
        return [Upload("", body)]
    if kind != b"multipart/form-data":
        raise Refusal(415, f"Content-Type is {content_type[:MAX_NAME]!r}; {ACCEPTED}")
    if not parameters.get(b"boundary"):
        raise Refusal(422, "the form's Content-Type has no boundary; let the HTTP client set it")
    uploads = _read_form(body, boundary=parameters[b"boundary"], max_photos=max_photos)
    if not uploads:
        raise Refusal(422, f"the form has no file; {ACCEPTED}")
    return uploads


def _read_form(body: bytes, *, boundary: bytes, max_photos: int) -> list[Upload]:
    uploads: list[Upload] = []

    def add(file: File) -> None:
        _check_field(file.field_name)
        if len(uploads) == max_photos:
            raise Refusal(413, f"the form has more than {max_photos} photos; send them in several requests")
        name = (file.file_name or b"").decode("utf-8", "replace")
        file.file_object.seek(0)
        uploads.append(Upload(name[:MAX_NAME], file.file_object.read()))
        file.close()

    def refuse(field: Field) -> None:
        _check_field(field.field_name)
        raise Refusal(422, f"{FIELD} is text, not a file; {ACCEPTED}")

    in_memory = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}  # nothing is written to disk: the body is in memory anyway
    try:
        parser = FormParser("multipart/form-data", refuse, add, boundary=boundary, config=in_memory)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise Refusal(422, f"the form is damaged: {str(error)[:MAX_NAME]}") from error
    return uploads


def _check_field(name: bytes | None) -> None:
    said = (name or b"").decode("utf-8", "replace")
    if said != FIELD:
        raise Refusal(422, f"the form has a field {said[:MAX_NAME]!r}; {ACCEPTED}")
