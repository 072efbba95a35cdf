"""Which column of a table holds what: by its type, and by its name where types leave a choice."""

from collections.abc import Mapping
from typing import Any

from datasets import ClassLabel, Image

from mge.errors import DataError

IMAGE_COLUMNS = ("image", "img", "photo", "picture", "jpg", "png")
LABEL_COLUMNS = ("label", "labels", "fine_label", "class", "class_name", "category", "species", "target", "cls")
GROUP_COLUMNS = ("group",)
PARENT_COLUMNS = ("parent", "coarse_label")

Features = Mapping[str, Any]  # of `datasets`, which has no types of its own


def image_column(features: Features, *, name: str) -> str:
    """The column with the photos: of the type Image; where there is none, of bytes.

    Raises:
        DataError: there is none, or it is not clear which.
    """
    declared = [column for column, feature in features.items() if isinstance(feature, Image)]
    candidates = declared or [column for column, feature in features.items() if _holds_bytes(feature)]
    return _only(candidates, IMAGE_COLUMNS, features=features, name=name, wanted="photos (Image, or binary)")


def label_column(features: Features, *, name: str) -> str:
    """The column with the classes: of the type ClassLabel, or of text or whole numbers and with the name of one.

    Raises:
        DataError: there is none, or it is not clear which.
    """
    candidates = [
        column
        for column, feature in features.items()
        if column.lower() not in (*GROUP_COLUMNS, *PARENT_COLUMNS)
        and (isinstance(feature, ClassLabel) or (column.lower() in LABEL_COLUMNS and _is_text_or_number(feature)))
    ]
    wanted = "classes (ClassLabel, or text or whole numbers)"
    return _only(candidates, LABEL_COLUMNS, features=features, name=name, wanted=wanted)


def optional_column(features: Features, accepted: tuple[str, ...]) -> str | None:
    """The column with one of these names, and a type that names something; None where a table has none."""
    return next((column for column in features if column.lower() in accepted and _names(features[column])), None)


def _only(candidates: list[str], accepted: tuple[str, ...], *, features: Features, name: str, wanted: str) -> str:
    """The candidate with the first of the accepted names, or the only one, or the only one with an accepted name."""
    first = [column for column in candidates if column.lower() == accepted[0]]
    named = [column for column in candidates if column.lower() in accepted]
    for choice in (first, candidates, named):
        if len(choice) == 1:
            return choice[0]
    columns = ", ".join(f"{column} ({_describe(feature)})" for column, feature in features.items())
    problem = "several columns that may hold the" if candidates else "no column for the"
    raise DataError(
        f"{name} has {problem} {wanted}, among: {columns}; rename the right one: "
        f"dataset.rename_column(NAME, {accepted[0]!r}).save_to_disk(FOLDER), and give that folder"
    )


def _holds_bytes(feature: Any) -> bool:  # noqa: ANN401  (a feature)
    if isinstance(feature, dict):
        return _holds_bytes(feature.get("bytes"))
    return getattr(feature, "dtype", "") in ("binary", "large_binary", "binary_view")


def _is_text_or_number(feature: Any) -> bool:  # noqa: ANN401  (a feature)
    dtype = str(getattr(feature, "dtype", ""))
    return dtype in ("string", "large_string", "string_view", "bool") or dtype.lstrip("u").startswith("int")


def _names(feature: Any) -> bool:  # noqa: ANN401  (a feature)
    return isinstance(feature, ClassLabel) or _is_text_or_number(feature)


def _describe(feature: Any) -> str:  # noqa: ANN401  (a feature)
    if isinstance(feature, dict):
        return f"struct of {', '.join(feature)}"
    kind = type(feature).__name__
    return str(feature.dtype) if kind == "Value" else kind
