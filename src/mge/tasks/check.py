"""`mge check`: problems in a data set, found before training."""

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
    """Check a data set: broken, tiny and duplicate photos, split leakage, label noise, class imbalance.

    Examples:
        mge check photos
        mge check photos --strict --out checks/photos

    Args:
        data: Folder of class folders, manifest, benchmark folder, or `beetles` (built-in synthetic demo data).
        out: Folder for check.txt, check.json and the contact sheets. Default: `checks/NAME`.
        format: How to read `data`: `auto`, or the name of a reader.
        image_column: Column of `data` with the photos or their paths. Default: found by its name or type.
        label_column: Column of `data` with the class labels. Default: found by its name or type.
        why: First list all readers in the order in which they are tried, each with the reason why it rejects the data.
        tiny_px: Report photos with a side below this many pixels (at most 128).
        near: Maximum Hamming distance between two 64-bit perceptual hashes for near duplicates (at most 16). Candidates
            are then compared pixel by pixel.
        seed: Random seed of the splits where the data has none, as in training.
        strict: Exit with code 2 if a photo is broken or a duplicate lies in another split.

    Returns:
        The findings.

    Raises:
        DataError: there are no photos; or, with `strict`, a photo is broken or two splits share a photo.
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
        raise DataError(f"{photos.name} contains no photos; give a folder of class folders, or a manifest")
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
    sys.stdout.write(as_text(f"{text}\nDetails: {files}\n{_next(data, findings)}"))
    if strict and (findings.broken or findings.leaks):
        raise DataError(
            f"{photos.name} has {len(findings.broken)} broken photos and {len(findings.leaks)} duplicates across "
            f"splits; accepted with --strict: none; see {folder / 'check.txt'}"
        )
    return findings


def _next(data: str | Path, findings: Findings) -> str:
    """Return the line with the next useful command."""
    has_problems = findings.leaks or findings.conflicts or findings.broken or findings.missing.get("train")
    target = quote(str(data))
    return f"Next: fix these and run: mge check {target}\n" if has_problems else f"Next: mge train {target}\n"
