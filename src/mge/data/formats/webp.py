"""WebP: the size, for which its decoder allocates memory as soon as the file is opened."""

from mge.data.formats.costs import check_size


def plain(content: bytes, *, name: str) -> bytes:
    """Return a WebP unchanged.

    Args:
        content: The file.
        name: Name of the photo in errors.

    Raises:
        DataError: it has too many pixels.
    """
    size = _size(content[:30])
    if size is not None:
        check_size(size, name=name, form="WEBP")
    return content


def num_pixels(head: bytes) -> int:
    """Return the number of pixels that a WebP declares; 0 if the decoder will find the file damaged."""
    width, height = _size(head) or (0, 0)
    return width * height


def _size(head: bytes) -> tuple[int, int] | None:
    """Read width and height; None if the decoder will find the file damaged."""
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L" and head[20:21] == b"\x2f":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        return (
            max(1, int.from_bytes(head[26:28], "little") & 0x3FFF),
            max(1, int.from_bytes(head[28:30], "little") & 0x3FFF),
        )
    return None
