"""Odd photos as people have them, with what is to be seen on each or how it is to be refused.

`ODD_PHOTOS` maps what is odd about a file to a function that makes it. What is to be seen is computed with numpy from
the values that were written, never by the code under test.
"""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.image_files import Values, chunk, encode, flip, half, heic, jpeg, netpbm, png, tiff, without_segment

Pixels = npt.NDArray[np.uint8]


class OddPhoto(NamedTuple):
    """A file, and what is to become of it.

    Args:
        file: Its name.
        content: Its bytes.
        shown: What is to be seen, uint8 (height, width, 3); None where the file is to be refused.
        tolerance: By how much a value may differ from that.
        refusal: A pattern that the error is to match.
    """

    file: str
    content: bytes
    shown: Pixels | None = None
    tolerance: int = 0
    refusal: str = ""


def picture() -> Pixels:
    """A smooth picture of 48 x 64 in which no corner looks like another: lossy formats keep it nearly as it is."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([4 * x, 5 * y, 200 - 2 * x - y], axis=2).astype(np.uint8)


def gray() -> Pixels:
    """The first channel of the picture."""
    return picture()[..., 0]


def as_rgb(values: Values) -> Pixels:
    """One grey as three channels of eight bits."""
    return np.repeat(np.rint(values).clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def on_white(values: Values, alpha: Values) -> Pixels:
    """Colours (height, width, 3) that cover as much as alpha (height, width), from 0 to 255, over white."""
    share = alpha[..., None] / 255
    return np.rint(values * share + 255 * (1 - share)).astype(np.uint8)


def alpha_ramp() -> Pixels:
    """Fully transparent on the left, opaque on the right."""
    return np.broadcast_to(np.linspace(0, 255, 64).round().astype(np.uint8), (48, 64)).copy()


def orientation_note(orientation: int) -> bytes:
    """EXIF with nothing but an orientation."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)


def stored(orientation: int) -> Pixels:
    """How a camera that is held like this stores the picture."""
    upright = picture()
    ways: dict[int, Pixels] = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(ways[orientation])


def turned(orientation: int) -> OddPhoto:
    """A JPEG of a camera that was held in some way."""
    return OddPhoto("turned.jpg", jpeg(stored(orientation), exif=orientation_note(orientation)), picture(), 4)


def inks() -> tuple[Pixels, Pixels]:
    """Cyan, magenta, yellow and black for each pixel, and what they look like: each ink takes its part of light."""
    y, x = np.mgrid[0:48, 0:64]
    cmyk = np.stack([3 * x, 200 - 2 * x, 4 * y, 100 - 2 * y], axis=2).astype(np.uint8)
    light = (255.0 - cmyk[..., :3]) * (255.0 - cmyk[..., 3:]) / 255
    return cmyk, np.rint(light).astype(np.uint8)


def cmyk_photo(file: str, **options: Any) -> OddPhoto:  # noqa: ANN401
    """A photo for a printing press. Pillow, as Adobe, writes the inks of a JPEG the other way round."""
    cmyk, shown = inks()
    image = Image.frombytes("CMYK", (64, 48), cmyk.tobytes())
    if file.endswith(".tif"):
        return OddPhoto(file, encode(image, "TIFF"), shown, 1)
    return OddPhoto(file, jpeg(image, **options), shown, 4)


def cmyk_without_marker() -> OddPhoto:
    """Browsers take CMYK for Adobe's, whether a file says so or not."""
    photo = cmyk_photo("cmyk.jpg")
    return photo._replace(content=without_segment(photo.content, b"\xff\xee"))


def palette_photo(file: str, *, alpha: Sequence[int] = ()) -> OddPhoto:
    """Sixteen colours in stripes, the first of them with an alpha."""
    colors = np.array([(16 * n, 255 - 16 * n, 40 + n) for n in range(16)], dtype=np.uint8)
    indices = np.broadcast_to(np.arange(64) // 4, (48, 64))
    opacity = np.full(16, 255)
    opacity[: len(alpha)] = alpha
    shown = on_white(colors[indices], opacity[indices])
    if file.endswith(".gif"):
        image = Image.fromarray(indices.astype(np.uint8), "P")
        image.putpalette(colors.tobytes())
        return OddPhoto(file, encode(image, "GIF", **({"transparency": 0} if alpha else {})), shown)
    before = chunk(b"PLTE", colors.tobytes()) + (chunk(b"tRNS", bytes(alpha)) if alpha else b"")
    return OddPhoto(file, png(indices, color=3, bits=4, before=before), shown, 1)


def lab_photo() -> OddPhoto:
    """Lightness and two axes of colour, by the formulas of CIE and of sRGB for light of 5000 K."""
    lightness, a, b = (
        np.full((8, 8), 60.0),
        np.linspace(-20, 30, 64).reshape(8, 8),
        np.linspace(25, -15, 64).reshape(8, 8),
    )
    stored_lab = np.stack([np.rint(lightness * 255 / 100), np.rint(a) + 128, np.rint(b) + 128], axis=2)
    height = (stored_lab[..., 0] * 100 / 255 + 16) / 116
    cubes = [height + (stored_lab[..., 1] - 128) / 500, height, height - (stored_lab[..., 2] - 128) / 200]
    white = (0.9642, 1.0, 0.8249)
    xyz = [w * np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) for w, f in zip(white, cubes, strict=True)]
    to_srgb = np.array(
        [[3.1339, -1.6169, -0.4906], [-0.9788, 1.9161, 0.0335], [0.0719, -0.2290, 1.4052]]  # Lindbloom, D50
    )
    linear = (np.stack(xyz, axis=2) @ to_srgb.T).clip(0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    signed = stored_lab - np.array([0, 128, 128])
    content = tiff((signed % 256).astype(np.uint8), photometric=8)
    return OddPhoto("lab.tif", content, np.rint(255 * shown).astype(np.uint8), 3)


def ycbcr_photo() -> OddPhoto:
    """Light and two differences of colour in a TIFF, by the formula of JFIF."""
    y, x = np.mgrid[0:48, 0:64]
    light, blue, red = 60 + 2 * x, 100 + y, 160 - y
    shown = np.stack(
        [
            light + 1.402 * (red - 128),
            light - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
            light + 1.772 * (blue - 128),
        ],
        axis=2,
    )
    image = Image.frombytes("YCbCr", (64, 48), np.stack([light, blue, red], axis=2).astype(np.uint8).tobytes())
    return OddPhoto("ycbcr.tif", encode(image, "TIFF"), np.rint(shown.clip(0, 255)).astype(np.uint8), 2)


def deep_gray(highest: int) -> Values:
    """The grey picture in more bits."""
    values: Values = np.rint(gray() * (highest / 255)).astype(np.uint16)
    return values


def deep_colors() -> Values:
    """The picture in 16 bits a colour."""
    return picture().astype(np.uint16) * 257


def fractions(highest: float) -> npt.NDArray[np.float32]:
    """The grey picture in floating point."""
    return (gray() * (highest / 255)).astype(np.float32)


def broken_fractions() -> OddPhoto:
    """Fractions, some of which are no numbers and some a little above 1."""
    values, shown = fractions(1.0), gray().astype(float)
    values[0, 0], values[0, 1], values[0, 2], values[:, 63] = np.nan, np.inf, -np.inf, 1.2
    shown[0, 0], shown[0, 1], shown[0, 2], shown[:, 63] = 0, 255, 0, 255
    return OddPhoto("sharpened.tif", tiff(values, photometric=1), as_rgb(shown), 1)


def premultiplied(values: Values) -> OddPhoto:
    """Colours that were multiplied with their alpha, and the alpha behind them."""
    alpha = alpha_ramp()
    channels = values if values.ndim == 3 else values[..., None]
    darkened = np.rint(channels * (alpha[..., None] / 255)).astype(np.uint8)
    content = tiff(
        np.concatenate([darkened, alpha[..., None]], axis=2), photometric=channels.shape[2] // 3 + 1, alpha=1
    )
    return OddPhoto("premultiplied.tif", content, on_white(np.broadcast_to(channels, (48, 64, 3)), alpha), 3)


def with_alpha(values: Values) -> Values:
    """Colours and the ramp of alpha behind them."""
    scale = 257 if values.dtype == np.uint16 else 1
    return np.concatenate([values, (alpha_ramp().astype(values.dtype) * scale)[..., None]], axis=2)


def color_key(bits: int) -> OddPhoto:
    """A grey PNG in which one grey is transparent."""
    values = gray() if bits == 8 else deep_gray(65535)
    before = chunk(b"tRNS", struct.pack(">H", int(values[0, 10])))
    shown = np.where(values == values[0, 10], 255, gray())
    return OddPhoto("key.png", png(values, color=0, bits=bits, before=before), as_rgb(shown))


def frames(file: str, form: str, **options: Any) -> OddPhoto:  # noqa: ANN401
    """A picture, and its negative after it."""
    second = Image.fromarray(255 - picture())
    content = encode(picture(), form, save_all=True, append_images=[second], **options)
    return OddPhoto(file, content, picture(), 4 if form == "MPO" else 0)


def animated_gif() -> OddPhoto:
    """A GIF of three flat pictures: red, green, blue."""
    images = [Image.new("RGB", (64, 48), color) for color in ("red", "lime", "blue")]
    content = encode(images[0], "GIF", save_all=True, append_images=images[1:])
    return OddPhoto("film.gif", content, np.full((48, 64, 3), (255, 0, 0), np.uint8))


def bits_png() -> OddPhoto:
    """Two greys only."""
    values = (gray() > 100).astype(np.uint8)
    return OddPhoto("bits.png", png(values, color=0, bits=1), as_rgb(values * 255))


def fax() -> OddPhoto:
    """A page as a fax machine stores it, in which white is zero."""
    values = gray() > 100
    return OddPhoto("fax.tif", encode(Image.fromarray(values), "TIFF", compression="group4"), as_rgb(values * 255))


def tiny(height: int, width: int) -> OddPhoto:
    """A photo of a few pixels."""
    values = picture()[:height, :1].repeat(width, axis=1)
    return OddPhoto("tiny.png", png(values, color=2, bits=8), values)


def noise(count: int) -> bytes:
    """Bytes without sense."""
    return np.random.default_rng(0).integers(0, 256, count, dtype=np.uint8).tobytes()


def text_note() -> bytes:
    """A note in a PNG, with a wrong check sum."""
    return chunk(b"tEXt", b"Comment\0hello", damage=1)


READABLE: dict[str, Callable[[], OddPhoto]] = {
    **{f"EXIF orientation {number}": lambda number=number: turned(number) for number in range(1, 9)},  # type: ignore[misc]
    "orientation 6 in a PNG": lambda: OddPhoto("t.png", encode(stored(6), "PNG", exif=orientation_note(6)), picture()),
    "orientation 8 in a WebP": lambda: OddPhoto(
        "t.webp", encode(stored(8), "WEBP", exif=orientation_note(8), lossless=True), picture()
    ),
    "orientation 5 in a TIFF": lambda: OddPhoto("t.tif", encode(stored(5), "TIFF", tiffinfo={0x0112: 5}), picture()),
    "orientation 6 in an AVIF": lambda: OddPhoto(
        "t.avif", encode(stored(6), "AVIF", exif=orientation_note(6), quality=95, subsampling="4:4:4"), picture(), 8
    ),
    "orientation 6 in a HEIC": lambda: OddPhoto("t.heic", heic(stored(6), exif=orientation_note(6)), picture(), 8),
    "an orientation that does not exist": lambda: OddPhoto(
        "t.jpg", jpeg(picture(), exif=orientation_note(99)), picture(), 4
    ),
    "EXIF garbage in a JPEG": lambda: OddPhoto("e.jpg", jpeg(picture(), exif=b"Exif\0\0" + noise(90)), picture(), 4),
    "EXIF garbage in a PNG": lambda: OddPhoto("e.png", encode(picture(), "PNG", exif=noise(90)), picture()),
    "EXIF garbage in a WebP": lambda: OddPhoto(
        "e.webp", encode(picture(), "WEBP", exif=noise(90), lossless=True), picture()
    ),
    "EXIF cut short": lambda: OddPhoto("e.jpg", jpeg(stored(1), exif=orientation_note(6)[:-12]), picture(), 4),
    "a CMYK JPEG": lambda: cmyk_photo("cmyk.jpg"),
    "a CMYK JPEG without Adobe's marker": cmyk_without_marker,
    "a CMYK TIFF": lambda: cmyk_photo("cmyk.tif"),
    "a LAB TIFF": lab_photo,
    "a YCbCr TIFF": ycbcr_photo,
    "a grey JPEG": lambda: OddPhoto("grey.jpg", encode(gray(), "JPEG", quality=98), as_rgb(gray()), 3),
    "a grey PNG of 2 bits": lambda: OddPhoto("g.png", png(gray() >> 6, color=0, bits=2), as_rgb((gray() >> 6) * 85)),
    "a PNG of 1 bit": bits_png,
    "a TIFF of 1 bit in which white is zero": fax,
    "a grey TIFF in which white is zero": lambda: OddPhoto("g.tif", tiff(255 - gray(), photometric=0), as_rgb(gray())),
    "a palette": lambda: palette_photo("palette.png"),
    "a palette with a transparent colour": lambda: palette_photo("palette.png", alpha=(0,)),
    "a palette with half-transparent colours": lambda: palette_photo("palette.png", alpha=(0, 100, 200)),
    "a GIF with a transparent colour": lambda: palette_photo("palette.gif", alpha=(0,)),
    "a grey PNG with a transparent grey": lambda: color_key(8),
    "a 16-bit PNG with a transparent grey": lambda: color_key(16),
    "a grey PNG with alpha": lambda: OddPhoto(
        "a.png", png(with_alpha(gray()[..., None]), color=4, bits=8), on_white(as_rgb(gray()), alpha_ramp()), 1
    ),
    "a PNG with alpha": lambda: OddPhoto(
        "a.png", png(with_alpha(picture()), color=6, bits=8), on_white(picture(), alpha_ramp()), 1
    ),
    "a WebP with alpha": lambda: OddPhoto(
        "a.webp", encode(with_alpha(picture()), "WEBP", lossless=True, exact=True), on_white(picture(), alpha_ramp()), 1
    ),
    "a TIFF with alpha": lambda: OddPhoto(
        "a.tif", tiff(with_alpha(picture()), photometric=2, alpha=2), on_white(picture(), alpha_ramp()), 1
    ),
    "premultiplied colours": lambda: premultiplied(picture()),
    "premultiplied grey": lambda: premultiplied(gray()),
    "16-bit grey in a PNG": lambda: OddPhoto("d.png", png(deep_gray(65535), color=0, bits=16), as_rgb(gray())),
    "16-bit grey in a TIFF": lambda: OddPhoto("d.tif", tiff(deep_gray(65535), photometric=1), as_rgb(gray())),
    "16-bit grey in a big-endian TIFF": lambda: OddPhoto(
        "d.tif", tiff(deep_gray(65535), photometric=1, order=">"), as_rgb(gray())
    ),
    "16-bit grey in which white is zero": lambda: OddPhoto(
        "d.tif", tiff(65535 - deep_gray(65535), photometric=0), as_rgb(gray())
    ),
    "12-bit grey": lambda: OddPhoto("d.tif", tiff(deep_gray(4095), photometric=1, bits=12), as_rgb(gray()), 1),
    "32-bit grey": lambda: OddPhoto(
        "d.tif", tiff(gray().astype(np.uint32) * 16843009, photometric=1), as_rgb(gray()), 1
    ),
    "8-bit values in 32 bits": lambda: OddPhoto("d.tif", tiff(gray().astype(np.uint32), photometric=1), as_rgb(gray())),
    "16-bit colours in a PNG": lambda: OddPhoto("d.png", png(deep_colors(), color=2, bits=16), picture()),
    "16-bit colours with alpha in a PNG": lambda: OddPhoto(
        "d.png", png(with_alpha(deep_colors()), color=6, bits=16), on_white(picture(), alpha_ramp()), 1
    ),
    "16-bit grey with alpha in a PNG": lambda: OddPhoto(
        "d.png",
        png(with_alpha(deep_gray(65535)[..., None]), color=4, bits=16),
        on_white(as_rgb(gray()), alpha_ramp()),
        1,
    ),
    "16-bit colours in a TIFF": lambda: OddPhoto("d.tif", tiff(deep_colors(), photometric=2), picture()),
    "fractions from 0 to 1": lambda: OddPhoto("f.tif", tiff(fractions(1), photometric=1), as_rgb(gray()), 1),
    "fractions in which white is zero": lambda: OddPhoto(
        "f.tif", tiff(1 - fractions(1), photometric=0), as_rgb(gray()), 1
    ),
    "floating point from 0 to 255": lambda: OddPhoto("f.tif", tiff(fractions(255), photometric=1), as_rgb(gray()), 1),
    "floating point from 0 to 65535": lambda: OddPhoto(
        "f.tif", tiff(fractions(65535), photometric=1), as_rgb(gray()), 1
    ),
    "fractions above 1 and no numbers": broken_fractions,
    "an animated GIF": animated_gif,
    "an animated WebP": lambda: frames("film.webp", "WEBP", lossless=True),
    "an animated PNG": lambda: frames("film.apng", "PNG"),
    "a TIFF of several pages": lambda: frames("pages.tif", "TIFF"),
    "a TIFF whose pages lead in a circle": lambda: OddPhoto(
        "circle.tif", tiff(picture(), photometric=2, is_circle=True), picture()
    ),
    "two photos in an MPO": lambda: frames("pair.mpo", "MPO", quality=98, subsampling=0),
    "an AVIF": lambda: OddPhoto("p.avif", encode(picture(), "AVIF", quality=95, subsampling="4:4:4"), picture(), 8),
    "a HEIC": lambda: OddPhoto("p.HEIC", heic(picture()), picture(), 8),
    "a HEIC named .jpg": lambda: OddPhoto("p.jpg", heic(picture()), picture(), 8),
    "a lossy WebP": lambda: OddPhoto("p.webp", encode(picture(), "WEBP", quality=98), picture(), 12),
    "a BMP": lambda: OddPhoto("p.bmp", encode(picture(), "BMP"), picture()),
    "a PPM": lambda: OddPhoto("p.ppm", netpbm("P6", 255, picture()), picture()),
    "a PGM of 16 bits": lambda: OddPhoto("p.pgm", netpbm("P5", 65535, deep_gray(65535)), as_rgb(gray())),
    "a PGM of 10 bits": lambda: OddPhoto("p.pgm", netpbm("P5", 1023, deep_gray(1023)), as_rgb(gray()), 1),
    "a progressive JPEG": lambda: OddPhoto("p.jpg", jpeg(picture(), progressive=True), picture(), 4),
    "a JPEG with garbage behind it": lambda: OddPhoto("p.jpg", jpeg(picture()) + noise(5000), picture(), 4),
    "a JPEG with a huge colour profile": lambda: OddPhoto(
        "p.jpg", jpeg(picture(), icc_profile=noise(1_000_000)), picture(), 4
    ),
    "a JPEG named .png": lambda: OddPhoto("p.png", jpeg(picture()), picture(), 4),
    "a PNG named .jpg": lambda: OddPhoto("p.jpg", encode(picture(), "PNG"), picture()),
    "a PNG whose pixels are whole and their check sum is wrong": lambda: OddPhoto(
        "p.png", png(picture(), color=2, bits=8, damage=1), picture()
    ),
    "a PNG with a wrong check sum of a note": lambda: OddPhoto(
        "crc.png", png(picture(), color=2, bits=8, before=text_note()), picture()
    ),
    "a PNG with a colour profile that unpacks to megabytes": lambda: OddPhoto(
        "icc.png", encode(picture(), "PNG", icc_profile=bytes(5_000_000)), picture()
    ),
    "a PPM of 12 bits": lambda: OddPhoto("p.ppm", netpbm("P6", 4095, deep_colors() // 16), picture(), 1),
    "a PPM of odd depth, with comments": lambda: OddPhoto(
        "p.ppm", netpbm("P6 # by\n#a scanner\n", 100, picture() // 2.55), picture(), 3
    ),
    "a PBM": lambda: OddPhoto(
        "p.pbm", b"P4\n64 48\n" + np.packbits(gray() < 100, axis=1).tobytes(), as_rgb(255 * (gray() >= 100))
    ),
    "1 x 1 pixel": lambda: tiny(1, 1),
    "1 x 40 pixels": lambda: tiny(40, 1),
}

DAMAGED = r"cannot be read|or damaged"
REFUSED: dict[str, Callable[[], OddPhoto]] = {
    "zero bytes": lambda: OddPhoto("empty.jpg", b"", refusal="it is an empty file"),
    "all zero bytes": lambda: OddPhoto("zeros.jpg", bytes(2000), refusal="it is all zero bytes"),
    "text": lambda: OddPhoto("text.jpg", b"hello\n" * 30, refusal="it is text"),
    "a web page": lambda: OddPhoto("page.jpg", b"\n<!DOCTYPE html><html><body>404", refusal="it is a web page"),
    "a drawing": lambda: OddPhoto("drawing.jpg", b"<svg xmlns='...'/>", refusal="it is an SVG drawing"),
    "a PDF": lambda: OddPhoto("paper.jpg", b"%PDF-1.7\n%\xe2\xe3", refusal="it is a PDF document"),
    "PostScript": lambda: OddPhoto(
        "page.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", refusal="it is PostScript"
    ),
    "an archive": lambda: OddPhoto("photos.jpg", b"PK\x03\x04" + noise(60), refusal="it is a ZIP archive"),
    "a Git LFS pointer": lambda: OddPhoto(
        "p.jpg", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", refusal="git lfs pull"
    ),
    "noise": lambda: OddPhoto("noise.jpg", noise(3000), refusal="is not a photo that can be read; accepted: JPEG"),
    "an icon": lambda: OddPhoto("icon.png", encode(picture(), "ICO"), refusal="is not a photo that can be read"),
    "half a JPEG": lambda: OddPhoto("half.jpg", half(jpeg(picture())), refusal="truncated"),
    "the beginning of a JPEG": lambda: OddPhoto("start.jpg", jpeg(picture())[:30], refusal=DAMAGED),
    "half a PNG": lambda: OddPhoto("half.png", half(encode(picture(), "PNG")), refusal=DAMAGED),
    "half a WebP": lambda: OddPhoto("half.webp", half(encode(picture(), "WEBP")), refusal=DAMAGED),
    "half a GIF": lambda: OddPhoto("half.gif", half(encode(picture(), "GIF")), refusal=DAMAGED),
    "half a TIFF": lambda: OddPhoto("half.tif", half(tiff(picture(), photometric=2)), refusal=DAMAGED),
    "half an AVIF": lambda: OddPhoto("half.avif", half(encode(picture(), "AVIF")), refusal=DAMAGED),
    "half a HEIC": lambda: OddPhoto("half.heic", half(heic(picture())), refusal=DAMAGED),
    "a PNG with a wrong check sum of its header": lambda: OddPhoto(
        "crc.png", flip(encode(picture(), "PNG"), 29), refusal=DAMAGED
    ),
    "a PNG with a flipped bit": lambda: OddPhoto("flip.png", flip(encode(picture(), "PNG"), 90, 3), refusal=DAMAGED),
    "a PNG of 900 million pixels": lambda: OddPhoto(
        "bomb.png", png(gray(), color=0, bits=8, size=(30_000, 30_000)), refusal="pixels"
    ),
    "a PNG of 100 million pixels": lambda: OddPhoto(
        "bomb.png", png(gray(), color=0, bits=1, size=(10_000, 10_000)), refusal="10000 x 10000 pixels; accepted"
    ),
    "a GIF of 100 million pixels": lambda: OddPhoto(
        "bomb.gif", b"GIF89a" + struct.pack("<HH", 10_000, 10_000) + encode(picture(), "GIF")[10:], refusal="million"
    ),
    "a JPEG 2000": lambda: OddPhoto("p.jp2", encode(picture(), "JPEG2000"), refusal="it is JPEG 2000.*save it as"),
    "a PPM in text": lambda: OddPhoto("p.ppm", b"P3 1 1 255\n1 2 3\n", refusal="is a text PBM, PGM or PPM; accepted"),
    "half a PPM": lambda: OddPhoto("p.ppm", half(netpbm("P6", 255, picture())), refusal=DAMAGED),
    "a compressed BMP": lambda: OddPhoto(
        "p.bmp", flip(encode(gray(), "BMP"), 30), refusal="is a compressed BMP; accepted: uncompressed"
    ),
    "a TIFF of LZMA": lambda: OddPhoto(
        "p.tif", encode(picture(), "TIFF", compression="lzma"), refusal="a TIFF of compression 34925; accepted: none, L"
    ),
    "20000 x 1 pixels": lambda: OddPhoto(
        "thin.jpg", encode(np.zeros((1, 20_000), np.uint8), "JPEG"), refusal="20000 x 1 pixels; .* 50:1"
    ),
    "1 x 20000 pixels": lambda: OddPhoto(
        "thin.png", encode(np.zeros((20_000, 1), np.uint8), "PNG"), refusal="1 x 20000 pixels; .* 50:1"
    ),
    "a JPEG that paints its pixels a thousand times": lambda: many_scans(),
    "double precision": lambda: OddPhoto(
        "double.tif", tiff(fractions(1).astype(np.float64), photometric=1), refusal="TIFF of an unsupported kind"
    ),
    "colours in floating point": lambda: OddPhoto(
        "colours.tif", tiff((picture() / 255).astype(np.float32), photometric=2), refusal="TIFF of an unsupported kind"
    ),
}


def many_scans() -> OddPhoto:
    """A progressive JPEG of 40 kB whose last scan comes again and again: read in full, it takes half a minute."""
    content = encode(Image.new("L", (2000, 2000), 90), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return OddPhoto("scans.jpg", content[:-2] + last * 1000 + content[-2:], refusal="scans")


ODD_PHOTOS: dict[str, Callable[[], OddPhoto]] = READABLE | REFUSED


def write_odd_photos(folder: Path, *, names: Sequence[str] = tuple(ODD_PHOTOS)) -> dict[Path, OddPhoto]:
    """Writes odd photos into two class folders, `left` and `right`, in turn.

    Returns:
        What is to become of each file.
    """
    written = {}
    for number, name in enumerate(names):
        photo = ODD_PHOTOS[name]()
        file = folder / ("left", "right")[number % 2] / f"{number} {photo.file}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(photo.content)
        written[file] = photo
    return written
