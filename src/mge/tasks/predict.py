"""`mge predict`: what a trained mixture says about photos."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, get_args

from rich.console import Console
from rich.progress import track

from mge.config import check_choice
from mge.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mge.prediction import Prediction

    Result = Prediction | DataError

Form = Literal["text", "csv", "json"]


def predict(
    run: str | Path,
    photos: list[str],
    *,
    top: int = 3,
    output: str | Path | None = None,
    format: Form | None = None,  # noqa: A002  (the flag's name)
    batch_size: int = 16,
    device: str = "cpu",
    fast: bool | None = None,
    cascade: bool = False,
    reject: bool = True,
) -> list[Prediction]:
    """Classifies photos, folders of photos and globs.

    Args:
        run: A run folder or a model folder.
        photos: Files, folders (with everything below them) and patterns such as `shelf/*.jpg`.
        top: How many of the likeliest classes are shown.
        output: File to write to (.csv or .json). By default the predictions are printed.
        format: `text`, `csv` or `json`. By default that of `output`'s name, or text.
        batch_size: Photos at a time.
        device: Where it runs, as torch names it.
        fast: Whether a compiled graph answers, which is compiled first (minutes, once) if it is not in the cache. By
            default where it is proven equal to the network on the first photos, and saves time.
        cascade: Whether later experts look only at photos that those before them were not sure about: quicker, and as
            good as `mge evaluate --cascade` says.
        reject: Whether photos that the model is not sure enough about are labelled `unknown`, where it has a threshold
            for that: `mge evaluate --reject auto` chooses one.

    Returns:
        One prediction a photo, in the order of the files' names.

    Raises:
        ModelFolderError: there is no whole model in `run`.
        ConfigError: an option has a value that it cannot take, or the model has no thresholds for a cascade.
        DataError: there is no such photo. A photo that cannot be read is reported, and the others are classified.
    """
    from mge.classifier import load  # noqa: PLC0415
    from mge.data.sources import find_photos  # noqa: PLC0415

    if cascade and fast:
        raise ConfigError("cascade and fast are both set; a compiled graph runs all experts: leave out one of them")
    form = _choose_form(format, output)
    files = find_photos(photos)
    classifier = load(run, device=device, fast=False if cascade else fast)
    if not reject:
        classifier.least_probability = None
    predictions: list[Prediction] = []
    broken: list[DataError] = []
    for result in _progress(classifier.stream(files, batch_size=batch_size, cascade=cascade), total=len(files)):
        if isinstance(result, DataError):
            broken.append(result)
        else:
            predictions.append(result)
    if output is None:
        _write(predictions, sys.stdout, form=form, top=top)
        sys.stderr.write(f"Next: mge predict {run} FOLDER --output predictions.csv\n")
    else:
        with Path(output).open("w", newline="", encoding="utf-8") as file:
            _write(predictions, file, form=form, top=top)
        sys.stderr.write(f"{len(predictions)} predictions written to {output}\nNext: mge evaluate {run}\n")
    num_unknown = sum(bool(prediction.reason) for prediction in predictions)
    if num_unknown:
        sys.stderr.write(f"{num_unknown} of {len(predictions)} photos are unknown; --reject false names them anyway\n")
    if cascade and predictions:
        mean = sum(prediction.num_experts_run for prediction in predictions) / len(predictions)
        sys.stderr.write(f"{mean:.2f} of {len(classifier.model.experts)} experts looked at a photo on average\n")
    if broken:
        reasons = "; ".join(str(error) for error in broken)
        raise DataError(
            f"{len(broken)} of {len(files)} photos could not be read, the others were classified: {reasons}"
        )
    return predictions


def _progress(results: Iterable[Result], *, total: int) -> Iterable[Result]:
    """A bar with the time left, beside the predictions and not among them; only where a person watches."""
    console = Console(stderr=True)
    return track(results, "classifying", total=total, console=console, transient=True, disable=not console.is_terminal)


def as_row(prediction: Prediction, *, top: int) -> dict[str, Any]:
    """A prediction as plain values: what a CSV row and a JSON object hold."""
    path, label = as_text(prediction.path), prediction.label
    row: dict[str, Any] = {"path": path, "label": label, "probability": prediction.probability}
    row |= {"likeliest": prediction.likeliest, "reason": prediction.reason}
    row["top"] = [{"label": label, "probability": probability} for label, probability in prediction.top(top)]
    row["expert_labels"] = list(prediction.expert_labels)
    row["num_experts_run"] = prediction.num_experts_run
    row["gate_probs"] = list(prediction.gate_probs)
    row["boxes_xyxy"] = [list(box) for box in prediction.boxes_xyxy]
    return row


def as_text(path: str) -> str:
    """A path that any file and terminal can hold: a name in another encoding than UTF-8 gets marks for odd letters."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _choose_form(form: Form | None, output: str | Path | None) -> Form:
    if form is not None:
        check_choice("format", form, get_args(Form))
        return form
    suffixes: dict[str, Form] = {".csv": "csv", ".json": "json"}
    suffix = Path(output).suffix.lower() if output is not None else ""
    if output is not None and suffix not in suffixes:
        raise ConfigError(f"output is {str(output)!r}; accepted: a name that ends in .csv or .json, or --format")
    return suffixes.get(suffix, "text")


def _write(predictions: list[Prediction], file: TextIO, *, form: Form, top: int) -> None:
    if form == "json":
        json.dump([as_row(prediction, top=top) for prediction in predictions], file, indent=1)
        file.write("\n")
    elif form == "csv":
        _write_csv(predictions, file, top=top)
    else:
        for prediction in predictions:
            likeliest = "  ".join(f"{label} {100 * probability:.1f} %" for label, probability in prediction.top(top))
            unknown = f"{prediction.label}: {prediction.reason}; " if prediction.reason else ""
            file.write(f"{as_text(prediction.path)}: {unknown}{likeliest}\n")


def _write_csv(predictions: list[Prediction], file: TextIO, *, top: int) -> None:
    """One row a photo; lists become numbered columns, empty for experts that did not look."""
    rows = []
    for prediction in predictions:
        row: dict[str, Any] = {
            "path": as_text(prediction.path),
            "label": prediction.label,
            "probability": prediction.probability,
            "likeliest": prediction.likeliest,
            "reason": prediction.reason,
        }
        for place, (label, probability) in enumerate(prediction.top(top), start=1):
            row |= {f"label_{place}": label, f"probability_{place}": probability}
        row["num_experts_run"] = prediction.num_experts_run
        for expert, (share, box) in enumerate(zip(prediction.gate_probs, prediction.boxes_xyxy, strict=True)):
            row[f"gate_{expert}"] = share
            row |= {f"box_{expert}_{edge}": at for edge, at in zip(("x1", "y1", "x2", "y2"), box, strict=True)}
        rows.append(row)
    widest: dict[str, Any] = max(rows, key=len, default=dict.fromkeys(("path", "label", "probability")))
    writer = csv.DictWriter(file, fieldnames=list(widest))
    writer.writeheader()
    writer.writerows(rows)
