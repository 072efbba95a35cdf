"""Tar archives give the photos that tar itself would extract, or one line."""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import mge
from mge.data.photo import NamedPhoto
from mge.data.sources.containers import find_all_photos
from tests.tars import BLOCK, TRAPS, header, octal, old_gnu_sparse, sparse_1_0, whole

HOLE = bytes(1 << 20)


def read(archive: Path) -> dict[str, bytes]:
    """The photos in an archive by their names."""
    found = find_all_photos([str(archive)])
    assert all(isinstance(photo, NamedPhoto) and photo.file == str(archive) for photo in found)
    return {photo.name.partition("#")[2]: photo.read() for photo in found if isinstance(photo, NamedPhoto)}


def write(file: Path, members: list[tuple[str, bytes | str, bytes]]) -> Path:
    """An archive of files, and of links: name, content or target, type."""
    with tarfile.open(file, "w") as archive:
        for name, content, kind in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if isinstance(content, str):
                info.linkname = content
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar")
@pytest.mark.parametrize("form", ["gnu", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix"])
def test_photos_with_holes_have_the_bytes_that_tar_was_given(tmp_path: Path, form: str) -> None:
    pieces = {
        "start.png": b"x" * 5000 + HOLE, "middle.png": HOLE + b"y" * 5000 + HOLE, "end.png": HOLE + b"z" * 777,
        "many.png": (b"n" * 4096 + HOLE[:8192]) * 30 + b"end", "all.png": HOLE, "whole.png": os.urandom(9999),
    }  # fmt: skip
    for name, content in pieces.items():
        with (tmp_path / name).open("wb") as file:
            for start in range(0, len(content), 4096):
                block = content[start : start + 4096]
                file.seek(len(block), os.SEEK_CUR) if not any(block) else file.write(block)
            file.truncate(len(content))
    command = ["tar", "-C", str(tmp_path), "-S", *f"--format={form}".split(), "-cf", str(tmp_path / "a.tar"), *pieces]
    subprocess.run(command, check=True)
    assert read(tmp_path / "a.tar") == pieces


@pytest.mark.parametrize("make", [old_gnu_sparse, sparse_1_0])
def test_holes_that_no_program_made_are_read_too(tmp_path: Path, make: Callable[..., bytes]) -> None:
    (tmp_path / "a.tar").write_bytes(whole(make("a.png", [(512, b"one"), (2048, b"two")], size=4000)))
    content = bytearray(4000)
    content[512:515], content[2048:2051] = b"one", b"two"
    assert read(tmp_path / "a.tar") == {"a.png": bytes(content)}


def test_of_members_with_one_name_the_last_counts_as_tar_has_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["a.png", "b.png", "./a.png", "sub/../b.png", "/a.png"]
    archive = write(tmp_path / "a.tar", [(name, name.encode(), tarfile.REGTYPE) for name in names])
    assert read(archive) == {"sub/../b.png": b"sub/../b.png", "/a.png": b"/a.png"}
    assert capsys.readouterr().err == (
        f"{archive} has 3 photos under names that come again; the last counts, as for tar\n"
    )


def test_links_stand_for_what_they_lead_to(tmp_path: Path) -> None:
    link, hard, file = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.REGTYPE
    archive = write(tmp_path / "a.tar", [
        ("a.png", b"old", file), ("hard.png", "./a.png", hard), ("a.png", b"new", file),
        ("sub/link.png", "../a.png", link), ("twice.png", "sub/link.png", link), ("later.png", "z.png", link),
        ("z.png", b"z", file),
    ])  # fmt: skip
    assert read(archive) == {
        "hard.png": b"old", "a.png": b"new", "sub/link.png": b"new", "twice.png": b"new", "later.png": b"z",
        "z.png": b"z",
    }  # fmt: skip


@pytest.mark.parametrize("target", ["nowhere.png", "/etc/passwd", "../a.png", "circle.png", "folder"])
def test_a_link_that_leads_to_no_photo_is_told_and_followed_nowhere(tmp_path: Path, target: str) -> None:
    archive = write(tmp_path / "a.tar", [
        ("a.png", b"a", tarfile.REGTYPE), ("circle.png", "link.png", tarfile.SYMTYPE),
        ("link.png", target, tarfile.SYMTYPE), ("folder", b"", tarfile.DIRTYPE),
    ])  # fmt: skip
    found = {photo.name: photo for photo in find_all_photos([str(archive)]) if isinstance(photo, NamedPhoto)}
    with pytest.raises(mge.DataError, match=r"a\.tar#link\.png cannot be read: it is a link to '.*', which is no"):
        found[f"{archive}#link.png"].read()


@pytest.mark.parametrize("name", TRAPS)
def test_an_archive_that_is_a_trap_or_damaged_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.tar").write_bytes(TRAPS[name]())
    with pytest.raises(mge.DataError, match=r"a\.tar(#\S+)? ") as caught:
        read(tmp_path / "a.tar")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("cut", [1, 512, 1024, 9000, 10_240, 10_241, 11_000])
def test_an_archive_that_was_cut_off_is_refused_and_no_photo_is_left_out(tmp_path: Path, cut: int) -> None:
    archive = write(tmp_path / "a.tar", [(f"{n}.png", b"x" * 3000, tarfile.REGTYPE) for n in range(5)])
    content = archive.read_bytes()
    archive.write_bytes(content[:-cut])
    try:
        assert len(read(archive)) == 5
        assert not any(content[-cut:])  # the blocks behind the end
    except mge.DataError as error:
        assert "give a plain .tar, whole" in str(error)  # noqa: PT017


def test_a_damaged_header_between_members_hides_none(tmp_path: Path) -> None:
    archive = write(tmp_path / "a.tar", [(f"{n}.png", b"x", tarfile.REGTYPE) for n in range(3)])
    content = bytearray(archive.read_bytes())
    content[2 * BLOCK + 10] ^= 0xFF  # in the name of the second
    archive.write_bytes(content)
    with pytest.raises(mge.DataError, match="what comes at byte 1,024 is no member"):
        read(archive)


def test_a_photo_of_nothing_but_holes_is_refused_and_its_neighbor_is_read(tmp_path: Path) -> None:
    big = old_gnu_sparse("big.png", [(0, b"x")], size=2**40)
    (tmp_path / "a.tar").write_bytes(whole(big + header("a.png", octal(1)) + b"a".ljust(BLOCK, b"\0")))
    found = [photo for photo in find_all_photos([str(tmp_path / "a.tar")]) if isinstance(photo, NamedPhoto)]
    assert found[1].read() == b"a"
    with pytest.raises(mge.DataError, match=r"big\.png cannot be read: it has holes of 1,099,511,627,775 bytes"):
        found[0].read()
