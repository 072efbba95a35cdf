"""`mge check`: what is wrong with photos, before a network is trained on them."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from mge.config import DataConfig, check_whole
from mge.errors import DataError
from mge.storage.output import check_folder

if TYPE_CHECKING:
    from mge.data.check.findings import Findings


def check(
    data: str | Path,
    *,
    out: str | Path | None = None,
    format: str = "auto",  # noqa: A002  (the flag's name)
    image_column: str | None = None,
    label_column: str | None = None,
    why: bool = False,
    tiny_px: int = 32,
    near: int = 6,
    seed: int = 0,
    strict: bool = False,
) -> Findings:
    """Looks for broken, tiny and repeated photos, leaks between splits, doubtful labels, and uneven classes.

    Args:
        data: Folder of class folders, manifest, benchmark folder, or `beetles`, the drawn demo data set.
        out: Folder for check.txt, check.json and the pictures. By default `checks/NAME`.
        format: How to read `data`: `auto`, or the name of a reader.
        image_column: Column of `data` with the photos or their paths; by default found by its name or type.
        label_column: Column of `data` with the classes; by default found by its name or type.
        why: Whether to list first all readers, in the order in which they are asked, and why each declines the data.
        tiny_px: Side in pixels below which a photo is tiny, up to 128.
        near: Bits of 64 in which the perceptual hashes of near duplicates may differ, up to 16; the pictures themselves
            are compared then.
        seed: Decides the splits where the data has none, as in training.
        strict: Exit with 2 where photos are broken, or copies lie in different splits.

    Returns:
        What was found.

    Raises:
        DataError: there are no photos; or, where it is strict, a photo is broken or a split leaks into another.
    """
    tiny_px = check_whole("tiny_px", tiny_px, at_least=1, at_most=128)
    near = check_whole("near", near, at_least=0, at_most=16)
    if out is not None:
        check_folder(out, flag="out", inputs=[data], apart=True)
    from mge.data.check.findings import collect_findings  # noqa: PLC0415
    from mge.data.photo import as_text  # noqa: PLC0415
    from mge.data.sources import explain_reading, read_photos  # noqa: PLC0415
    from mge.evaluation.inspection import inspect  # noqa: PLC0415
    from mge.report.check_report import describe  # noqa: PLC0415
    from mge.report.samples import draw_findings  # noqa: PLC0415
    from mge.storage.files import write_text_atomically  # noqa: PLC0415

    config = DataConfig(image_column=image_column, label_column=label_column)
    if why:
        sys.stdout.write("".join(f"{line}\n" for line in explain_reading(data, config=config)))
    photos = read_photos(data, config=config, seed=seed, format=format, is_for_training=False)
    if not photos.records:
        raise DataError(f"{photos.name} holds no photos; give a folder of class folders, or a manifest")
    folder = Path(out) if out is not None else Path("checks") / photos.name
    folder = check_folder(
        folder, flag="out", inputs=[data, *(record.path for record in photos.records)], writes=("check.*", "*.png"),
        apart=True,
    )  # fmt: skip
    scans = inspect(photos.records, with_hashes=True)
    findings = collect_findings(photos, scans, tiny_px=tiny_px, distance=near)
    text = describe(findings)
    write_text_atomically(folder / "check.txt", text)
    write_text_atomically(folder / "check.json", findings.to_json())
    pictures = draw_findings(folder, photos, scans, findings)
    files = ", ".join(str(file) for file in (folder / "check.json", *pictures))
    sys.stdout.write(as_text(f"{text}\nAll of it, and pictures: {files}\n{_next(data, findings)}"))
    if strict and (findings.broken or findings.leaks):
        raise DataError(
            f"{photos.name} has {len(findings.broken)} broken photos and {len(findings.leaks)} copies across splits; "
            f"--strict accepts none; see {folder / 'check.txt'}"
        )
    return findings


def _next(data: str | Path, findings: Findings) -> str:
    """The next useful command."""
    has_problems = findings.leaks or findings.conflicts or findings.broken or findings.missing.get("train")
    verb, when = ("check", ", once it is mended") if has_problems else ("train", "")
    return f"Next: mge {verb} {quote(str(data))}{when}\n"
