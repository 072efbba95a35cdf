"""Photos in tar archives, under the names and with the content that `tar --extract` would give them."""

import io
import posixpath
import re
import sys
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

from mge.data.file_type import SUFFIXES
from mge.data.photo import NamedPhoto
from mge.data.sources.walking import is_junk
from mge.errors import DataError

LARGEST_HOLES = 2**28  # bytes of a sparse member that are not stored in the archive
LARGEST_HEADER = 2**16  # bytes of a long name, or of the notes about a member
MAX_NOTES = 1000  # about all members that follow
MAX_LINKS = 8  # from one name to the next
# Exceptions of tarfile for damaged or malicious archives.
DAMAGE = (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, MemoryError, LookupError, TypeError)
NOTE = re.compile(rb"([1-9]\d{0,8}) [^=\n]{1,200}=")


class _Member(NamedTuple):
    """A member of an archive, other than a folder.

    Args:
        name: Its name in the archive.
        size: In bytes, including holes.
        start: Position of its bytes in the archive; -1: it has none.
        pieces: Positions of its data: start and length of each piece between holes.
        link: Target of a link; empty if it is none.
        is_hard: Whether it is a hard link: to the member that has that name at this point of the archive.
    """

    name: str
    size: int
    start: int
    pieces: tuple[tuple[int, int], ...]
    link: str
    is_hard: bool = False


class _Headers(io.BufferedReader):
    """An archive whose headers are read sequentially, in small pieces, and only up to its end."""

    def __init__(self, file: Path) -> None:
        super().__init__(io.FileIO(file))
        self.size = file.stat().st_size
        self._is_at_end = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Read some bytes; a header that claims an impossible size, or continues past the end, is refused."""
        if size is None or not 0 <= size <= LARGEST_HEADER:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        content = super().read(size)
        if size and not content:
            if self._is_at_end:
                raise tarfile.ReadError("a header continues past the end")
            self._is_at_end = True
        if size > tarfile.BLOCKSIZE and not _is_sane(content):
            raise tarfile.ReadError("the metadata of a member is invalid")
        return content

    def seek(self, place: int, whence: int = io.SEEK_SET, /) -> int:
        """Seek forward; negative sizes, which would lead back, or positions past the end are refused."""
        if whence == io.SEEK_SET and not self.tell() <= place <= self.size:
            raise tarfile.ReadError("a member claims a size larger than the archive, or negative")
        return super().seek(place, whence)


def read_tar(file: Path) -> list[NamedPhoto]:
    """Return the photos of an archive, by their names; their content is read on demand.

    Of several members of one name the last is used, as in extraction. Links are followed.

    Raises:
        DataError: it is compressed, damaged or truncated, or has no photos in it.
    """
    latest: dict[str, _Member] = {}
    repeated = 0
    try:
        for member in _members(file):
            name = _normal(member.name)
            known = latest.get(member.link, member) if member.is_hard else member
            repeated += latest.pop(name, None) is not None and _is_photo(name)
            latest[name] = known._replace(name=member.name)
    except DAMAGE as error:
        reason = error if isinstance(error, tarfile.TarError | OSError) else "a header is invalid"
        raise DataError(
            f"{file} is not an uncompressed tar archive, or is damaged: {reason}; give a complete, uncompressed .tar"
        ) from error
    if repeated:
        sys.stderr.write(f"{file} has {repeated:,} repeated member names; the last one is used, as tar does\n")
    photos = [_photo(file, member, latest) for name, member in latest.items() if _is_photo(name)]
    if not photos:
        raise DataError(f"{file} contains no photos among {len(latest)} files; accepted: {', '.join(sorted(SUFFIXES))}")
    return photos


def _members(file: Path) -> Iterator[_Member]:
    """Yield the members of an archive; a missing end marker is an error, since members may be lost."""
    with _Headers(file) as headers, tarfile.open(fileobj=headers, mode="r:") as archive:
        while (found := archive.next()) is not None:
            cast(Any, archive).members = []  # otherwise it keeps all members in memory
            if len(archive.pax_headers) > MAX_NOTES:
                raise tarfile.ReadError("the global metadata is invalid")
            if not found.isdir():
                yield _as_member(found, archive_size=headers.size)
        end = archive.offset
    with file.open("rb") as opened:
        opened.seek(end)
        block = opened.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE or any(block):
        raise tarfile.ReadError(f"it ends early, or there is no valid member at byte {end:,}")


def _as_member(found: tarfile.TarInfo, *, archive_size: int) -> _Member:
    """Return the member's record, after checking its positions and sizes."""
    if found.islnk():
        return _Member(found.name, 0, -1, (), _normal(found.linkname), is_hard=True)
    if found.issym():  # seen from its own folder; one with / in front leads out of the archive
        target = posixpath.normpath(posixpath.join(posixpath.dirname(found.name.lstrip("/")), found.linkname))
        return _Member(found.name, 0, -1, (), target)
    sparse: Any = found.sparse  # pairs, unlike in tarfile's type stubs
    places = [(0, found.size)] if sparse is None else sparse
    pieces = tuple((start, length) for start, length in places if length)
    end = 0
    for start, length in pieces:
        if start < end or length < 0:
            raise tarfile.ReadError(f"the size of {found.name!r}, or of a piece of it, is invalid")
        end = start + length
    num_stored = sum(length for _, length in pieces)
    if (found.isreg() and not 0 <= end <= found.size) or found.offset_data + num_stored > archive_size:
        raise tarfile.ReadError(f"{found.name!r} extends past the end of the archive")
    return _Member(found.name, found.size, found.offset_data if found.isreg() else -1, pieces, "")


def _photo(file: Path, member: _Member, latest: dict[str, _Member]) -> NamedPhoto:
    """Return a member as a photo; a link is followed inside the archive."""
    name, found = f"{file}#{member.name}", member
    for _ in range(MAX_LINKS):
        found = latest.get(found.link, found)
    holes = found.size - sum(length for _, length in found.pieces)
    if found.link:
        reason = f"it is a link to {found.link!r}, which is not a photo in the archive"
    elif found.start < 0:
        reason = "it is not a regular file"
    elif holes > LARGEST_HOLES:
        reason = f"it has holes of {holes:,} bytes; accepted: up to {LARGEST_HOLES:,}"
    else:
        return NamedPhoto(name, partial(_read_member, file, found), str(file))
    return NamedPhoto(name, partial(_refuse, f"{name} cannot be read: {reason}"), str(file))


def _read_member(file: Path, member: _Member) -> bytes:
    content = bytearray(member.size)  # zeros where it has holes
    try:
        with file.open("rb") as opened:
            opened.seek(member.start)
            for start, length in member.pieces:
                piece = opened.read(length)
                if len(piece) < length:
                    raise DataError(f"{file} was truncated while it was read; copy it again")
                content[start : start + length] = piece
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
    return bytes(content)


def _refuse(reason: str) -> bytes:
    raise DataError(reason)


def _is_photo(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in SUFFIXES and not any(map(is_junk, name.split("/")))


def _normal(name: str) -> str:
    """Normalise a member's name as in extraction: `./a.jpg`, `/a.jpg` and `a.jpg` are one."""
    return posixpath.normpath(name.lstrip("/"))


def _is_sane(notes: bytes) -> bool:
    """Return whether pax records have the lengths that they declare; others may take tarfile hours, and any memory."""
    place = 0
    while record := NOTE.match(notes, place):
        place += int(record[1])
        if notes[place - 1 : place] != b"\n":
            return False
    return not re.compile(rb"\d+ ").match(notes, place) and not re.search(rb"\d{100}", notes)
