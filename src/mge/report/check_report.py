"""The findings of `mge check` as a text that says what to do about them."""

from collections.abc import Iterable, Sequence

from mge.data.check.findings import Copies, Findings, FlaggedPhoto
from mge.data.photo import as_text
from mge.data.records import what_is_unmeasured

UNEVEN = 5  # times as many photos in the largest class as in the smallest: worth a word
NUM_NAMED = 8  # photos, classes or copies of a kind that are named; check.json has all of them


def describe(findings: Findings) -> str:
    """The findings in words: how many photos there are, what is wrong, and what to do."""
    parts = [
        f"{findings.data} ({findings.source}): {findings.num_photos} photos, {len(_class_names(findings))} classes",
        _count_table(findings),
        _imbalance(findings),
        *_problems(findings),
    ]
    advice = list(_advice(findings))
    parts.append("\n".join(["What to do", *(f"  - {line}" for line in advice)]) if advice else "Nothing to mend.")
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
        return f"Training has no photos of {uneven.smallest}."
    if uneven.ratio == 1:
        return "In training all classes have the same number of photos."
    return (
        f"In training the largest class ({uneven.largest}) has {uneven.ratio:.1f} times as many photos as the smallest "
        f"({uneven.smallest}); the classes are as uneven as {uneven.effective_classes:.1f} of equal size would be."
    )


def worst_first(copies: Sequence[Copies]) -> list[Copies]:
    """Copies whose labels disagree, then those across splits, then the others."""
    return sorted(copies, key=lambda found: (not found.labels_disagree, not found.across_splits))


def _problems(findings: Findings) -> Iterable[str]:
    """A paragraph for each kind of finding that there is one of."""
    for split, names in findings.missing.items():
        if names:
            yield _paragraph(f"Classes without a photo in {split}: {len(names)}", names)
    if findings.broken:
        lines = [f"{photo.path} {photo.reason}" for photo in findings.broken]
        yield _paragraph(f"Photos that cannot be read: {len(lines)}", lines)
    if findings.tiny:
        lines = [f"{photo.path} ({photo.width} x {photo.height} px)" for photo in findings.tiny]
        yield _paragraph(f"Tiny photos, with a side below {findings.tiny_px} px: {len(lines)}", lines)
    for copies, title in ((findings.exact, "Groups of identical files"), (findings.near, "Pairs of the same picture")):
        if copies:
            across = sum(found.across_splits for found in copies)
            disagree = sum(found.labels_disagree for found in copies)
            counts = f"{len(copies)}, of these across splits {across}, with different labels {disagree}"
            yield _paragraph(f"{title}: {counts}", [_name_copies(found) for found in worst_first(copies)])


def _paragraph(title: str, lines: Sequence[str]) -> str:
    rest = [f"  … and {len(lines) - NUM_NAMED} more"] if len(lines) > NUM_NAMED else []
    return "\n".join([title, *(f"  {line}" for line in lines[:NUM_NAMED]), *rest])


def _name_copies(copies: Copies) -> str:
    """The photos, each with what it does not share with the others."""

    def name(photo: FlaggedPhoto) -> str:
        marks = [photo.split] * copies.across_splits + [photo.label] * copies.labels_disagree
        return photo.path + (f" [{', '.join(marks)}]" if marks else "")

    return " = ".join(name(photo) for photo in copies.photos)


def _advice(findings: Findings) -> Iterable[str]:
    """What to do, what spoils figures most first."""
    if findings.leaks:
        yield (
            "Remove the copies from all splits but one: what was learned by heart counts as right in a test, and its "
            "figures come out too good."
        )
    if findings.conflicts:
        yield "Of copies with different labels one is wrong: look at them and mend it."
    if findings.broken:
        yield "Copy the broken photos again, or remove them. Training skips them, and evaluation says how many."
    if findings.missing.get("train"):
        yield "Add training photos of the classes that have none, or remove these classes: training refuses them."
    if any(names for split, names in findings.missing.items() if split != "train"):
        yield "Nothing is measured about classes that a split has no photos of: add some."
    unmeasured = what_is_unmeasured(findings.counts)
    if unmeasured is not None:
        yield f"{unmeasured}."
    if findings.tiny:
        yield "Tiny photos are enlarged until nothing fine is left in them: find larger ones."
    if findings.imbalance.ratio >= UNEVEN:
        yield "Classes are uneven: read the balanced accuracy, in which each class counts alike, beside the other."
    if any(not found.across_splits for found in (*findings.exact, *findings.near)):
        yield "Copies within a split do no harm but count twice."
