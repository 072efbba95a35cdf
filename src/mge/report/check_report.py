"""The findings of `mge check` as text with recommendations."""

from collections.abc import Iterable, Sequence

from mge.data.check.findings import Copies, Findings, FlaggedPhoto
from mge.data.photo import as_text
from mge.data.records import what_is_unmeasured

UNEVEN = 5  # ratio of the largest to the smallest class that is worth a note
NUM_NAMED = 8  # photos, classes or copies of a kind that are listed; check.json has all of them


def describe(findings: Findings) -> str:
    """Describe the findings: numbers of photos, problems, and recommendations."""
    parts = [
        f"{findings.data} ({findings.source}): {findings.num_photos} photos, {len(_class_names(findings))} classes",
        _count_table(findings),
        _imbalance(findings),
        *_problems(findings),
    ]
    advice = list(_advice(findings))
    parts.append(
        "\n".join(["Recommendations", *(f"  - {line}" for line in advice)]) if advice else "No problems found."
    )
    return as_text("\n\n".join(parts) + "\n")


def _class_names(findings: Findings) -> list[str]:
    return list(next(iter(findings.counts.values()), {}))


def _count_table(findings: Findings) -> str:
    rows = [("split", "photos", "classes", "smallest class", "largest class")]
    for split, counts in findings.counts.items():
        there = {name: number for name, number in counts.items() if number}
        smallest, largest = (choose(there, key=lambda name: there[name]) for choose in (min, max))
        rows.append((split, str(sum(there.values())), str(len(there)),
                     f"{there[smallest]} ({smallest})", f"{there[largest]} ({largest})"))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)  # fmt: skip


def _imbalance(findings: Findings) -> str:
    uneven = findings.imbalance
    if not uneven.ratio:
        return f"The training split has no photos of {uneven.smallest}."
    if uneven.ratio == 1:
        return "All classes have the same number of training photos."
    return (
        f"Class imbalance in training: the largest class ({uneven.largest}) has {uneven.ratio:.1f} times as many "
        f"photos as the smallest ({uneven.smallest}); effective number of classes: {uneven.effective_classes:.1f}."
    )


def worst_first(copies: Sequence[Copies]) -> list[Copies]:
    """Sort copies: those with conflicting labels first, then those across splits, then the others."""
    return sorted(copies, key=lambda found: (not found.labels_disagree, not found.across_splits))


def _problems(findings: Findings) -> Iterable[str]:
    """Yield a paragraph for each kind of finding that occurs."""
    for split, names in findings.missing.items():
        if names:
            yield _paragraph(f"Classes without photos in {split}: {len(names)}", names)
    if findings.broken:
        lines = [f"{photo.path} {photo.reason}" for photo in findings.broken]
        yield _paragraph(f"Photos that cannot be read: {len(lines)}", lines)
    if findings.tiny:
        lines = [f"{photo.path} ({photo.width} x {photo.height} px)" for photo in findings.tiny]
        yield _paragraph(f"Tiny photos (side below {findings.tiny_px} px): {len(lines)}", lines)
    for copies, title in ((findings.exact, "Groups of identical files"), (findings.near, "Pairs of near duplicates")):
        if copies:
            across = sum(found.across_splits for found in copies)
            disagree = sum(found.labels_disagree for found in copies)
            counts = f"{len(copies)} ({across} across splits, {disagree} with different labels)"
            yield _paragraph(f"{title}: {counts}", [_name_copies(found) for found in worst_first(copies)])


def _paragraph(title: str, lines: Sequence[str]) -> str:
    rest = [f"  … and {len(lines) - NUM_NAMED} more"] if len(lines) > NUM_NAMED else []
    return "\n".join([title, *(f"  {line}" for line in lines[:NUM_NAMED]), *rest])


def _name_copies(copies: Copies) -> str:
    """Format the photos, each with the properties that differ between them."""

    def name(photo: FlaggedPhoto) -> str:
        marks = [photo.split] * copies.across_splits + [photo.label] * copies.labels_disagree
        return photo.path + (f" [{', '.join(marks)}]" if marks else "")

    return " = ".join(name(photo) for photo in copies.photos)


def _advice(findings: Findings) -> Iterable[str]:
    """Yield recommendations, in the order of their effect on the metrics."""
    if findings.leaks:
        yield (
            "Remove the duplicates from all splits but one: test photos that were seen in training inflate the "
            "accuracy (leakage)."
        )
    if findings.conflicts:
        yield "Duplicates with different labels: at least one label is wrong; correct it."
    if findings.broken:
        yield "Replace or remove the broken photos. Training skips them; evaluation reports their number."
    if findings.missing.get("train"):
        yield "Add training photos for the classes without any, or remove these classes: training rejects them."
    if any(names for split, names in findings.missing.items() if split != "train"):
        yield "Classes without photos in a split cannot be evaluated there: add some."
    unmeasured = what_is_unmeasured(findings.counts)
    if unmeasured is not None:
        yield f"{unmeasured}."
    if findings.tiny:
        yield "Tiny photos have no fine detail: replace them with larger ones."
    if findings.imbalance.ratio >= UNEVEN:
        yield "The classes are imbalanced: also read the balanced accuracy (mean per-class recall)."
    if any(not found.across_splits for found in (*findings.exact, *findings.near)):
        yield "Duplicates within a split are harmless, but have twice the weight."
