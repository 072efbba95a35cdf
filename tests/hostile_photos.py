"""Photos that cost more than they weigh: small files that would take seconds or gigabytes to decode.

`COSTLY` maps what is costly about a file to its name and a function that makes it.
"""

import struct
import zlib
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from tests.image_files import chunk, encode, heic, netpbm

SIDE = 8300  # of pictures as large as is accepted
MEGABYTE = 1_000_000


def small(form: str) -> bytes:
    """A good photo."""
    return encode(np.full((64, 64, 3), 90, np.uint8), form)


# Headers that promise much, formats that are read a byte at a time


def jpeg_2000() -> bytes:
    """A JPEG 2000 that says 8000 x 8000 pixels, around a tile that has hardly any."""
    content = encode(np.zeros((8, 8, 3), np.uint8), "JPEG2000", no_jp2=True)
    return content.replace(struct.pack(">II", 8, 8), struct.pack(">II", 8000, 8000))


def text_ppm() -> bytes:
    """Pixels in text, between a million comments."""
    return b"P3 1000 1000 255\n" + b"#\n" * MEGABYTE + b"1 2 3 " * 1000


def text_pbm() -> bytes:
    """Black and white in text."""
    return b"P1 5000 4000\n" + b"0" * (20 * MEGABYTE)


def long_comment() -> bytes:
    """A binary PPM whose header is one comment."""
    return b"P6\n#" + b"x" * (19 * MEGABYTE) + b"\n1 1 255\n123"


def many_comments() -> bytes:
    """A binary PPM whose header is ten million comments."""
    return b"P6" + b"\n#" * (9 * MEGABYTE) + b"\n1 1 255\n123"


def odd_depth() -> bytes:
    """A binary PPM of 9 million values, the highest of which is 254."""
    return netpbm("P6", 254, np.zeros((1500, 2000, 3), np.uint8))


def fractions() -> bytes:
    """Pixels in floating point."""
    return b"Pf\n2000 2000\n-1.0\n" + bytes(16 * MEGABYTE)


def packed_bmp() -> bytes:
    """A BMP of runs of one pixel."""
    header = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 0, 0, 0, 1078, 40, 3000, 3000, 1, 8, 1, 0, 0, 0, 256, 0)
    return header + bytes(1024) + (b"\1\0" * 3000 + b"\0\0") * 3000


# Files of many pieces


def chunks(kind: bytes) -> Callable[[], bytes]:
    """A PNG of a million and a half chunks."""

    def make() -> bytes:
        content = small("PNG")
        return content[:33] + chunk(kind, b"") * 1_500_000 + content[33:]

    return make


def bombs(kind: bytes, name: bytes) -> Callable[[], bytes]:
    """A PNG whose notes unpack into a megabyte each."""

    def make() -> bytes:
        content = small("PNG")
        note = chunk(kind, name + zlib.compress(bytes(MEGABYTE), 9))
        return content[:33] + note * 10_000 + content[33:]

    return make


def animated_png() -> bytes:
    """A PNG that says that it has two billion frames, each as large as it is."""
    content = small("PNG")
    frame = struct.pack(">IIIIIHHBB", 0, 64, 64, 0, 0, 1, 1, 2, 1)
    return content[:33] + chunk(b"acTL", struct.pack(">II", 2**31, 0)) + chunk(b"fcTL", frame) + content[33:]


def note_in_png(name: bytes, *, is_last: bool = False) -> Callable[[], bytes]:
    """A PNG with a note whose name is that of an option of a decoder."""

    def make() -> bytes:
        content, note = small("PNG"), chunk(b"tEXt", name + b"\0(1, 2")
        return content[:-12] + note + content[-12:] if is_last else content[:33] + note + content[33:]

    return make


def segments(marker: bytes, data: bytes, count: int) -> Callable[[], bytes]:
    """A JPEG of many segments of a kind."""

    def make() -> bytes:
        content = small("JPEG")
        return content[:2] + (marker + struct.pack(">H", 2 + len(data)) + data) * count + content[2:]

    return make


def junk_in_jpeg() -> bytes:
    """A JPEG with 19 MB between two segments."""
    content = small("JPEG")
    place = content.index(b"\xff\xdb")
    return content[:place] + bytes(19 * MEGABYTE) + content[place:]


def padded_jpeg() -> bytes:
    """A JPEG that is almost all padding."""
    return b"\xff\xd8" + b"\xff" * (19 * MEGABYTE)


def scans_in_turn() -> bytes:
    """A JPEG that is no progressive one, and paints its three colours again and again."""
    gray = encode(np.full((2000, 2000), 90, np.uint8), "JPEG")
    frame, scan = gray.index(b"\xff\xc0"), gray.index(b"\xff\xda")
    colors = b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    header = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 2000, 2000, 3) + colors
    scans = [b"\xff\xda" + struct.pack(">HBBB", 8, 1, number, 0) + gray[scan + 7 : -2] for number in (1, 2, 3)]
    return gray[:frame] + header + gray[frame + 13 : scan] + b"".join(scans) * 130 + b"\xff\xd9"


def gif_comment() -> bytes:
    """A GIF with a comment in nine million parts."""
    content = small("GIF")
    start = 13 + 3 * 2 ** (1 + (content[10] & 7)) * (content[10] >> 7)
    return content[:start] + b"!\xfe" + b"\1x" * (9 * MEGABYTE) + b"\0" + content[start:]


def gif_junk() -> bytes:
    """A GIF with 19 MB of zeros before its picture."""
    content = small("GIF")
    start = 13 + 3 * 2 ** (1 + (content[10] & 7)) * (content[10] >> 7)
    return content[:start] + bytes(19 * MEGABYTE) + content[start:]


def exif_bomb() -> bytes:
    """A JPEG whose notes have as many tags as there can be, each as long as all of them."""
    entries = b"".join(struct.pack(">HHII", tag, 2, 60_000, 8) for tag in range(5000))
    note = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 5000) + entries
    return segments(b"\xff\xe1", note + bytes(65_000 - len(note)), 300)()


Tag = tuple[int, int, Sequence[int]]  # number, type (3: 16 bits, 4: 32 bits), values


def tiff(tags: Sequence[Tag], data: bytes, *, entries: int = 1) -> bytes:
    """A TIFF with its pixels at byte 8 and its only page behind them."""
    at, longs, page = 8 + len(data), b"", b""
    size = 2 + 12 * len(tags) * entries + 4
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", at + size + len(longs))
        longs += packed if len(packed) > 4 else b""
        page += struct.pack("<HHI", tag, kind, len(values)) + place
    return (
        b"II*\0" + struct.pack("<I", at) + data + struct.pack("<H", len(tags) * entries) + page * entries + bytes(4)
        + longs
    )  # fmt: skip


def strips(count: int, *, compression: int, data: bytes) -> bytes:
    """A TIFF of grey rows, all of which are the same bytes of the file."""
    return tiff(
        [(256, 3, [2000]), (257, 4, [count]), (258, 3, [8]), (259, 3, [compression]), (262, 3, [1]),
         (273, 4, [8] * count), (277, 3, [1]), (278, 3, [1]), (279, 4, [len(data)] * count)], data,
    )  # fmt: skip


def many_strips() -> bytes:
    """A TIFF whose every row is a strip of its own, and has two million of them listed."""
    return tiff(
        [(256, 3, [40]), (257, 3, [1000]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]), (273, 4, [8] * 2 * MEGABYTE),
         (277, 3, [1]), (278, 3, [1]), (279, 4, [40] * 2 * MEGABYTE)], bytes(40),
    )  # fmt: skip


def strips_of_nothing() -> bytes:
    """A TIFF each of whose rows unpacks the same megabytes, which are empty but for their end."""
    empty = b"\x78\x01" + b"\0\0\0\xff\xff" * (3 * MEGABYTE) + zlib.compress(bytes(2000))[2:]
    return strips(2000, compression=8, data=empty)


def giant_tile() -> bytes:
    """A TIFF of 8 x 8 pixels, whose only tile has 60,000 x 60,000."""
    data = zlib.compress(bytes(64))
    return tiff(
        [(256, 3, [8]), (257, 3, [8]), (258, 3, [8]), (259, 3, [8]), (262, 3, [1]), (277, 3, [1]), (322, 4, [60_000]),
         (323, 4, [60_000]), (324, 4, [8]), (325, 4, [len(data)])], data,
    )  # fmt: skip


def long_tag() -> bytes:
    """A TIFF whose resolution is two million fractions."""
    content = tiff([(256, 3, [8]), (257, 3, [8]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]), (273, 4, [8]),
                    (277, 3, [1]), (278, 3, [8]), (279, 4, [64]), (282, 4, [1] * 4 * MEGABYTE)], bytes(64))  # fmt: skip
    return content.replace(struct.pack("<HHI", 282, 4, 4 * MEGABYTE), struct.pack("<HHI", 282, 5, 2 * MEGABYTE))


def big_tiff() -> bytes:
    """A TIFF of 64 bits with 900,000 tags."""
    page = b"".join(struct.pack("<HHQQ", number % 65_000, 4, 1, 8) for number in range(900_000))
    return b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + struct.pack("<Q", 900_000) + page + bytes(8)


def jpeg_in_tiff() -> bytes:
    """A TIFF that holds a JPEG which paints its pixels a thousand times."""
    content = encode(Image.new("L", (2000, 2000), 90), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    data = content[:-2] + last * 1000 + content[-2:]
    return tiff(
        [(256, 3, [2000]), (257, 3, [2000]), (258, 3, [8]), (259, 3, [7]), (262, 3, [1]), (273, 4, [8]),
         (277, 3, [1]), (278, 3, [2000]), (279, 4, [len(data)])], data,
    )  # fmt: skip


# Pictures as large as is accepted, in formats that hold them several times


def large(form: str, mode: str, **options: object) -> Callable[[], bytes]:
    """A picture of 69 million pixels of one colour."""
    return lambda: encode(Image.new(mode, (SIDE, SIDE), 0), form, **options)


def deep_png() -> bytes:
    """A PNG of 69 million pixels of 64 bits."""
    row = b"\4" + bytes(SIDE * 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(SIDE)) + packer.flush()
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def webp_canvas() -> bytes:
    """A WebP whose header says 16,000 x 11,000 pixels."""
    frame = encode(np.zeros((8, 8, 3), np.uint8), "WEBP")[12:]
    size = (16_000 - 1).to_bytes(3, "little") + (11_000 - 1).to_bytes(3, "little")
    content = b"VP8X" + struct.pack("<I", 10) + bytes(4) + size + frame
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def webp_frames() -> bytes:
    """A WebP of 400,000 frames."""
    still = encode(np.zeros((8, 8, 3), np.uint8), "WEBP", lossless=True)[12:]
    part = bytes(6) + bytes([7, 0, 0, 7, 0, 0]) + bytes(4) + still
    frame = b"ANMF" + struct.pack("<I", len(part)) + part
    head = b"VP8X" + struct.pack("<I", 10) + b"\2" + bytes(3) + bytes([7, 0, 0, 7, 0, 0])
    content = head + b"ANIM" + struct.pack("<I", 6) + bytes(6) + frame * 400_000
    return b"RIFF" + struct.pack("<I", 4 + len(content)) + b"WEBP" + content


def lying(content: bytes, side: int) -> bytes:
    """A file that says a smaller size than its pictures have."""
    start = content.index(b"ispe") + 8
    return content[:start] + struct.pack(">II", side, side) + content[start + 8 :]


def avif_giant() -> bytes:
    """An AVIF of 1 kB that says 64 x 64 pixels, around a picture of 8000 x 8000."""
    return lying(encode(Image.new("RGB", (8000, 8000)), "AVIF", speed=10, quality=40), 64)


def avif_frames() -> bytes:
    """An AVIF of 64 x 64 pixels, whose picture is 20,000 frames of 3000 x 2000."""
    content = encode(Image.new("RGB", (3000, 2000)), "AVIF", speed=10, quality=40)
    coded = content[content.index(b"mdat") + 4 :]
    place = content.index(struct.pack(">I", len(coded)), content.index(b"iloc"))
    more = coded + coded[2:] * 20_000
    content = content[:place] + struct.pack(">I", len(more)) + content[place + 4 : -len(coded) - 8]
    return lying(content + struct.pack(">I", 8 + len(more)) + b"mdat" + more, 64)


def avif_items() -> bytes:
    """An AVIF whose list of locations says that it has 60,000 pictures, all of them the whole file."""
    content = small("AVIF")
    start = content.index(b"iloc") - 4
    (length,) = struct.unpack_from(">I", content, start)
    items = b"".join(struct.pack(">HHHII", number, 0, 1, 0, 0) for number in range(60_000))
    box = struct.pack(">I4sIHH", 16 + len(items), b"iloc", 0, 0x4400, 60_000) + items
    meta = content.index(b"meta") - 4
    (whole,) = struct.unpack_from(">I", content, meta)
    head = content[:meta] + struct.pack(">I", whole - length + len(box)) + content[meta + 4 : start]
    return head + box + content[start + length :]


def heic_giant() -> bytes:
    """A HEIC that says 8 x 8 pixels, around a picture of 600 x 600."""
    return lying(heic(np.zeros((600, 600, 3), np.uint8)), 8)


def mpo_without_end() -> bytes:
    """Two photos in one, the first of which says that the file has four billion."""
    image = Image.new("RGB", (64, 64))
    content = encode(image, "MPO", save_all=True, append_images=[image])
    return content.replace(
        struct.pack("<HHI", 0xB001, 4, 1) + b"\2\0\0\0", struct.pack("<HHI", 0xB001, 4, 1) + b"\xff" * 4
    )


COSTLY: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a JPEG 2000 of 8000 x 8000 pixels": ("trap.j2k", jpeg_2000),
    "a PPM in text with a million comments": ("trap.ppm", text_ppm),
    "a PBM in text": ("trap.pbm", text_pbm),
    "a PPM with a comment of 19 MB": ("trap.ppm", long_comment),
    "a PPM with nine million comments": ("trap.ppm", many_comments),
    "a PPM of odd depth": ("trap.ppm", odd_depth),
    "a PFM": ("trap.pfm", fractions),
    "a BMP of runs": ("trap.bmp", packed_bmp),
    "a PNG of a million unknown chunks": ("trap.png", chunks(b"teSt")),
    "a PNG of a million empty chunks of pixels": ("trap.png", chunks(b"IDAT")),
    "a PNG of a million empty notes": ("trap.png", chunks(b"tEXt")),
    "a PNG whose colour profiles unpack to gigabytes": ("trap.png", bombs(b"iCCP", b"x\0\0")),
    "a PNG whose notes unpack to gigabytes": ("trap.png", bombs(b"zTXt", b"\0\0")),
    "a PNG of two billion frames": ("trap.png", animated_png),
    "a PNG with a note called transparency": ("trap.png", note_in_png(b"transparency")),
    "a PNG with a note called transparency at its end": ("trap.png", note_in_png(b"transparency", is_last=True)),
    "a PNG with a note called interlace": ("trap.png", note_in_png(b"interlace")),
    "a PNG with a note called bbox": ("trap.png", note_in_png(b"bbox")),
    "a PNG with a note called exif": ("trap.png", note_in_png(b"exif")),
    "a JPEG of a million notes": ("trap.jpg", segments(b"\xff\xe1", b"Exif\0\0x", 1_700_000)),
    "a JPEG of many quantization tables": ("trap.jpg", segments(b"\xff\xdb", (b"\0" + b"\1" * 64) * 1000, 300)),
    "a JPEG of empty comments": ("trap.jpg", segments(b"\xff\xfe", b"", 4_000_000)),
    "a JPEG with 19 MB between its segments": ("trap.jpg", junk_in_jpeg),
    "a JPEG of padding": ("trap.jpg", padded_jpeg),
    "a JPEG that paints its colours in turn": ("trap.jpg", scans_in_turn),
    "a JPEG of many EXIF tags": ("trap.jpg", exif_bomb),
    "an MPO of four billion photos": ("trap.mpo", mpo_without_end),
    "a GIF with a comment of nine million parts": ("trap.gif", gif_comment),
    "a GIF of zeros": ("trap.gif", gif_junk),
    "a TIFF of two million strips": ("trap.tif", many_strips),
    "a TIFF whose strips unpack nothing": ("trap.tif", strips_of_nothing),
    "a TIFF with a giant tile": ("trap.tif", giant_tile),
    "a TIFF with a tag of two million fractions": ("trap.tif", long_tag),
    "a TIFF of 900,000 tags": ("trap.tif", big_tiff),
    "a TIFF with a JPEG of a thousand scans": ("trap.tif", jpeg_in_tiff),
    "a progressive CMYK JPEG of 69 million pixels": ("trap.jpg", large("JPEG", "CMYK", progressive=True)),
    "a PNG of 69 million pixels of 64 bits": ("trap.png", deep_png),
    "a grey PNG with alpha of 69 million pixels": ("trap.png", large("PNG", "LA", compress_level=1)),
    "a WebP of 176 million pixels": ("trap.webp", webp_canvas),
    "a WebP of 69 million pixels": ("trap.webp", large("WEBP", "RGB", method=0)),
    "a WebP of 400,000 frames": ("trap.webp", webp_frames),
    "an AVIF around a picture of 8000 x 8000 pixels": ("trap.avif", avif_giant),
    "an AVIF of 20,000 frames": ("trap.avif", avif_frames),
    "an AVIF of 60,000 pictures": ("trap.avif", avif_items),
    "a HEIC around a picture of 600 x 600 pixels": ("trap.heic", heic_giant),
    "an AVIF of 69 million pixels": ("trap.avif", large("AVIF", "RGB", speed=10)),
}
