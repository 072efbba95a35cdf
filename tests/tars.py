"""Tar archives written by hand: holes in every dialect, and traps that no program makes."""

from collections.abc import Callable, Sequence

BLOCK = 512
Pieces = Sequence[tuple[int, bytes]]  # between holes: where each begins, and its bytes


def octal(number: int) -> bytes:
    """A number as tar has it."""
    return b"%011o\0" % number


def binary(number: int) -> bytes:
    """A number that octal digits cannot hold: large, or below zero."""
    return (b"\xff" if number < 0 else b"\x80") + (number % 256**11).to_bytes(11, "big")


def header(name: str, size: bytes, *, kind: bytes = b"0", extra: bytes = b"") -> bytes:
    """The block before a member.

    Args:
        name: Of the member.
        size: As `octal` or `binary` writes it.
        kind: Its type.
        extra: From byte 345 on.
    """
    magic = b"ustar  \0" if kind == b"S" else b"ustar\00000"
    start = name.encode().ljust(100, b"\0") + b"0000644\0" + 2 * b"0000000\0" + size + octal(0)
    rest = kind + bytes(100) + magic + bytes(345 - 265) + extra
    block = (start + b" " * 8 + rest).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padded(content: bytes) -> bytes:
    """Content to the end of its last block."""
    return content + bytes(-len(content) % BLOCK)


def whole(*members: bytes) -> bytes:
    """An archive with its end."""
    return b"".join(members) + bytes(2 * BLOCK)


def notes(text: bytes, *, kind: bytes = b"x") -> bytes:
    """Notes about the next member, or about all that follow."""
    return header("notes", octal(len(text)), kind=kind) + padded(text)


def note(key: bytes, value: bytes) -> bytes:
    """One of them."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length += 1
    return b"%d" % length + rest


def old_gnu_sparse(name: str, pieces: Pieces, *, size: int) -> bytes:
    """A member with holes as GNU tar wrote it of old, with up to four pieces."""
    stored = b"".join(content for _, content in pieces)
    places = b"".join(octal(start) + octal(len(content)) for start, content in pieces).ljust(96, b"\0")
    real = octal(size) if size < 8**11 else binary(size)
    return header(name, octal(len(stored)), kind=b"S", extra=bytes(41) + places + b"\0" + real) + padded(stored)


def sparse_1_0(name: str, pieces: Pieces, *, size: int) -> bytes:
    """A member with holes as GNU tar writes it by POSIX, its map before its bytes."""
    numbers = [len(pieces), *(number for start, content in pieces for number in (start, len(content)))]
    stored = padded(b"".join(b"%d\n" % number for number in numbers)) + b"".join(content for _, content in pieces)
    about = note(b"GNU.sparse.major", b"1") + note(b"GNU.sparse.minor", b"0")
    about += note(b"GNU.sparse.name", name.encode()) + note(b"GNU.sparse.realsize", b"%d" % size)
    return notes(about) + header("GNUSparseFile.0/x", octal(len(stored))) + padded(stored)


def _photo(size: bytes, *, kind: bytes = b"0") -> Callable[[], bytes]:
    first = header("good.png", octal(1)) + padded(b"x")
    return lambda: whole(first, header("trap.png", size, kind=kind), padded(b"x"))


def _endless_map() -> bytes:
    """A map of holes that says that it goes on, and ends with the archive."""
    about = note(b"GNU.sparse.major", b"1") + note(b"GNU.sparse.minor", b"0") + note(b"GNU.sparse.realsize", b"9")
    return notes(about) + header("trap.png", octal(BLOCK)) + b"999\n" + b"7" * (BLOCK - 4)


def _sparse_notes(places: bytes) -> bytes:
    about = note(b"GNU.sparse.map", places) + note(b"GNU.sparse.size", b"100") + note(b"GNU.sparse.numblocks", b"2")
    return whole(notes(about), header("trap.png", octal(20)), padded(b"x" * 20))


TRAPS: dict[str, Callable[[], bytes]] = {
    "a size below zero": _photo(binary(-512)),
    "a size far below zero": _photo(binary(-(2**80))),
    "a size of a terabyte": _photo(binary(2**40)),
    "a size of more bytes than there are atoms": _photo(binary(2**87)),
    "a long name of a terabyte": _photo(binary(2**40), kind=b"L"),
    "a long name of a size below zero": _photo(binary(-1), kind=b"L"),
    "notes of a terabyte": _photo(binary(2**40), kind=b"x"),
    "notes of two gigabytes": _photo(octal(2**31), kind=b"g"),
    "notes that say a size below zero": lambda: whole(
        notes(note(b"size", b"-512")), header("trap.png", octal(1)), padded(b"x")
    ),
    "notes that say a size of a terabyte": lambda: whole(
        notes(note(b"size", b"1099511627776")), header("trap.png", octal(1)), padded(b"x")
    ),
    "notes of digits": lambda: whole(notes(b"9" * 60_000), header("trap.png", octal(1)), padded(b"x")),
    "notes that lie about their length": lambda: whole(
        notes(b"2 " * 30_000 + b"="), header("trap.png", octal(1)), padded(b"x")
    ),
    "thousands of notes about all members": lambda: whole(
        notes(b"".join(note(b"k%d" % number, b"") for number in range(5000)), kind=b"g"),
        header("trap.png", octal(1)), padded(b"x"),
    ),
    "a map of holes without end": _endless_map,
    "pieces that lie over each other": lambda: _sparse_notes(b"0,10,5,10"),
    "pieces behind the end": lambda: _sparse_notes(b"0,10,95,10"),
    "pieces of a size below zero": lambda: _sparse_notes(b"0,30,40,-10"),
    "old pieces behind the end": lambda: whole(old_gnu_sparse("trap.png", [(90, b"x" * 20)], size=100)),
    "nothing but zeros": lambda: bytes(10_240),
}  # fmt: skip
