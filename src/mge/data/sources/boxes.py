"""Conversion of boxes in annotation files to x1, y1, x2, y2 in pixels from 0, end-exclusive."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from mge.errors import DataError

Box = tuple[float, float, float, float]

MAX_XML_BYTES = 1_000_000  # those of real data sets have some hundred


def box_from_edges(values: Sequence[object], *, first_pixel: Literal[0, 1], where: str) -> Box:
    """Return the box of x1, y1, x2, y2.

    Args:
        values: The four numbers, or their text.
        first_pixel: 1: pixels are counted from 1 and the box includes the last one, as in MATLAB and PASCAL VOC. 0: the
            numbers are edges like ours.
        where: Place of the values: file and line.

    Raises:
        DataError: they are not numbers, or the box is empty.
    """
    x1, y1, x2, y2 = _four_numbers(values, where=where)
    return _checked((x1 - first_pixel, y1 - first_pixel, x2, y2), values=values, where=where)


def box_from_size(values: Sequence[object], *, where: str) -> Box:
    """Return the box of x, y, width, height, counted from 0.

    Raises:
        DataError: they are not numbers, or the box is empty.
    """
    x, y, width, height = _four_numbers(values, where=where)
    return _checked((x, y, x + width, y + height), values=values, where=where)


def largest(boxes: Sequence[Box]) -> Box | None:
    """Return the box with the largest area, since a record has room for one; None if there is none."""
    return max(boxes, key=lambda box: (box[2] - box[0]) * (box[3] - box[1]), default=None)


def read_voc_boxes(file: Path, *, first_pixel: Literal[0, 1]) -> list[Box]:
    """Read the boxes of all objects of an XML file in PASCAL VOC's format (`object/bndbox/xmin` and so on).

    Raises:
        DataError: it is not such a file, or declares a document type, which can expand a small file to gigabytes.
    """
    with file.open("rb") as stream:
        content = stream.read(MAX_XML_BYTES + 1)
    if len(content) > MAX_XML_BYTES:
        raise DataError(f"{file} is larger than {MAX_XML_BYTES:,} bytes; expected the boxes of one photo")
    parser = ElementTree.XMLParser(target=_PlainTree())
    try:
        parser.feed(content)
        root = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: of its encoding
        raise DataError(f"{file} is not XML: {error}") from error
    except _DocumentTypeError as error:
        raise DataError(f"{file} declares a document type; accepted: plain XML without <!DOCTYPE") from error
    return [
        box_from_edges([node.findtext(edge) for edge in ("xmin", "ymin", "xmax", "ymax")], first_pixel=first_pixel,
                       where=str(file))
        for node in root.iter("bndbox")
    ]  # fmt: skip


class _DocumentTypeError(Exception):
    """A document type was declared."""


class _PlainTree(ElementTree.TreeBuilder):
    """An XML tree builder that stops at a document type, before any of its declarations is expanded."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise _DocumentTypeError


def _four_numbers(values: Sequence[object], *, where: str) -> Box:
    try:
        x1, y1, x2, y2 = (float(str(value)) for value in values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} has the box {values!r}; expected four numbers") from error
    return x1, y1, x2, y2


def _checked(box: Box, *, values: Sequence[object], where: str) -> Box:
    """Clip the box at the left and top edges of the photo."""
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), box[2], box[3]
    if not (x1 < x2 < math.inf and y1 < y2 < math.inf):
        raise DataError(f"{where} has the box {values!r}, which is empty; expected one with an area, in pixels")
    return x1, y1, x2, y2
