"""BMP: uncompressed files only, since compressed ones would be read byte by byte."""

import struct

from mge.errors import DataError

UNCOMPRESSED = (0, 3)  # as they are, or with masks


def plain(content: bytes, *, name: str) -> bytes:
    """Return a BMP unchanged.

    Args:
        content: The file.
        name: Name of the photo in errors.

    Raises:
        DataError: its pixels are compressed.
    """
    header_bytes, compression = struct.unpack_from("<I12xI", content.ljust(34, b"\0"), 14)
    if header_bytes >= 40 and compression not in UNCOMPRESSED:
        raise DataError(f"{name} is a compressed BMP; accepted: uncompressed BMP; save it uncompressed, or as PNG")
    return content
