"""GIF: the first image, without comments."""

import re

from mge.data.formats.costs import damaged, too_many

MAX_BLOCKS = 1_000_000  # before the first image
CONTROL = 0xF9  # the extension with the transparent colour
BLOCK = re.compile(rb"[!,;]")


def plain(content: bytes, *, name: str) -> bytes:
    """Return a GIF from its first image on, preceded only by what that image needs.

    Args:
        content: The file.
        name: Name of the photo in errors.

    Raises:
        DataError: it is damaged, or has too many blocks.
    """
    if len(content) < 13:
        raise damaged(name, "a GIF")
    start = position = 13 + _palette_bytes(content[10])
    control, blocks = b"", 0
    while blocks < MAX_BLOCKS:
        found = BLOCK.search(content, position)
        if found is None or found[0] == b";":
            raise damaged(name, "a GIF")
        if found[0] == b",":
            return b"".join([content[:start], control, memoryview(content)[found.start() :]])
        position = found.end() + 1
        while position < len(content) and content[position] and blocks < MAX_BLOCKS:
            position += 1 + content[position]
            blocks += 1
        position, blocks = position + 1, blocks + 1
        if content[found.end() : found.end() + 1] == bytes([CONTROL]):
            control = content[found.start() : position]
    raise too_many(name, "blocks", MAX_BLOCKS)


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** (1 + (flags & 7)) if flags & 0x80 else 0
