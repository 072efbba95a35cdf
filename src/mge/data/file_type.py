"""File types, detected from the first bytes: names and suffixes may be wrong or missing."""

import re

HEAD = 64  # bytes needed by `kind_of`

# The suffixes of photos; a file with one of them is taken for a photo without being opened.
SUFFIXES = frozenset(
    {
        ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic",
        ".heif", ".hif", ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".mpo",
    }
)  # fmt: skip

# Suffixes of other files beside photos, which are not opened to check. Raw photos begin like TIFF, but a TIFF reader
# finds only a thumbnail in them.
OTHER_SUFFIXES = frozenset(
    {
        ".txt", ".md", ".html", ".htm", ".xml", ".json", ".jsonl", ".csv", ".tsv", ".xls", ".xlsx", ".yaml", ".yml",
        ".mat", ".npy", ".npz", ".pkl", ".h5", ".pt", ".pth", ".parquet", ".arrow", ".db", ".py", ".ipynb", ".sh",
        ".m", ".log", ".ini", ".pdf", ".svg", ".doc", ".docx", ".xmp", ".aae", ".thm", ".zip", ".gz", ".tar", ".tgz",
        ".7z", ".rar", ".mp4", ".mov", ".avi", ".mkv", ".webm", ".mp3", ".wav",
        ".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw",
    }
)  # fmt: skip

# The first bytes of photos, by Pillow's name of the format. Formats that begin with two letters of plain text (BMP,
# PPM) are recognised by their suffix only.
_PHOTOS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"\xff\x4f\xff\x51": "JPEG2000",
}
_OTHERS = {
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"8BPS": "a Photoshop document",
    b"<svg": "an SVG drawing",
    b"<?xml": "XML or an SVG drawing",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"version https://git-lfs": "a Git LFS pointer; fetch the photos with `git lfs pull`",
}
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


def kind_of(head: bytes) -> str:
    """Return the format of a photo by the first bytes of its file, by Pillow's name; empty if it is not a photo."""
    for signature, kind in _PHOTOS.items():
        if head.startswith(signature):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = [head[start : start + 4] for start in range(8, min(len(head), int.from_bytes(head[:4], "big")), 4)]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if any(brand in _HEIF_BRANDS for brand in brands):
            return "HEIF"
    return ""


def form_of(head: bytes) -> str:
    """Return the format of a presumed photo: `kind_of`, and formats that begin with two letters of text."""
    if kind := kind_of(head):
        return kind
    if head.startswith(b"BM"):
        return "BMP"
    return "PPM" if re.match(rb"P[0-7Ff]\s", head) else ""


def describe(head: bytes) -> str:
    """Describe a file that is not a photo by its first bytes; empty if they are inconclusive."""
    if not head:
        return "an empty file"
    if not head.strip(b"\0"):
        return "all zero bytes"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for signature, what in _OTHERS.items():
        if start.startswith(signature.lower()):
            return what
    if kind_of(head) == "JPEG2000":
        return "JPEG 2000, which can expand 200 bytes to a gigabyte; save it as PNG"
    if kind := kind_of(head):
        return f"{kind} of an unsupported kind, or damaged"
    return "text" if all(9 <= byte < 127 for byte in head) else ""
