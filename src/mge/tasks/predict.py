"""`mge predict`: predictions for photos."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, get_args

from mge import __version__
from mge.config import check_choice, check_range, check_whole
from mge.errors import ConfigError
from mge.inference.writers import Form, check_form, print_rows
from mge.storage.output import check_file, check_is_not_read, is_stream, open_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mge.errors import DataError
    from mge.inference.prediction import Photo, Prediction, Predictions


def predict(
    run: str | Path,
    photos: list[str],
    *,
    top: int = 3,
    output: str | Path | None = None,
    format: Form | None = None,  # noqa: A002  (the flag's name)
    batch_size: int = 16,
    device: str = "cpu",
    fast: bool = False,
    cascade: bool = False,
    reject: bool = True,
    threshold: float | None = None,
    probabilities: bool = False,
) -> Predictions:
    """Classify photos: files, folders, patterns, manifests, Parquet files and tar archives.

    With `output`, results are saved as they are made: after an interruption the same command resumes. Under torchrun
    the processes share the photos.

    Examples:
        mge predict runs/birds photo.jpg
        mge predict runs/birds folder --output predictions.csv

    Args:
        run: Run folder, model folder, .onnx file of `mge export`, or hf:owner/name on the Hugging Face Hub.
        photos: Files, folders (searched recursively), patterns such as `shelf/*.jpg`, manifests with a column `path`
            (.csv, .tsv, .jsonl), Parquet files with a column of photos, and tar archives.
        top: Number of most likely classes to list.
        output: File to write (.csv, .json, .jsonl or .parquet). Default: print the predictions.
        format: `text`, `csv`, `json`, `jsonl` or `parquet`. Default: by the name of `output`, or text.
        batch_size: Photos per batch.
        device: PyTorch device, such as cpu or cuda.
        fast: Use a compiled graph; if it is not cached it is compiled first, and its outputs are compared with the
            network's (minutes, once).
        cascade: Early exit: later experts run only on photos on which the earlier ones are unsure. Needs the thresholds
            that `mge evaluate --cascade` stores, which also reports the effect on accuracy.
        reject: Label photos below the model's rejection threshold as `unknown`. `mge evaluate --reject auto` stores
            one.
        threshold: Rejection threshold, from 0 to 1, instead of the model's own. `--conf` is an alias.
        probabilities: Also write the probability of every class: one column `prob_CLASS` each in CSV and Parquet.

    Returns:
        One prediction per photo, in the order of the photos: a list with `to_frame()` for pandas. With `output`, those
        of this call and process; an empty list for more than 10,000 photos, which are only written to the file.

    Raises:
        ModelFolderError: `run` contains no complete model.
        ConfigError: an option has an invalid value, or the model has no early-exit thresholds.
        DataError: no photo was found. Photos that cannot be read are reported; the others are classified.
    """
    if cascade and fast:
        raise ConfigError("cascade and fast are both set; a compiled graph runs all experts: leave out one of them")
    threshold = _check_threshold(threshold, reject=reject)
    top, batch_size = check_whole("top", top, at_least=0), check_whole("batch_size", batch_size, at_least=1)
    form = _choose_form(format, output)
    from mge.inference.batch_predict import PredictionCounts, classify_to_file, classify_to_stream, make_rows, processes  # noqa: PLC0415
    from mge.inference.load import load_known  # noqa: PLC0415
    from mge.inference.prediction import Predictions  # noqa: PLC0415

    rank, num_processes = processes()
    place = _choose_place(form, output, num_processes=num_processes)
    files = find_inputs(photos, run=run, place=place)
    classifier, model = load_known(run, device=_own_device(device), fast=fast)
    classifier.least_probability = classifier.least_probability if reject and threshold is None else threshold

    def ask(some: Iterable[Photo]) -> Iterator[Prediction | DataError]:
        return classifier.stream(some, batch_size=batch_size, cascade=cascade)

    counts, num_experts, predictions = PredictionCounts(), classifier.num_experts, Predictions()
    if place is None:
        rows = list(make_rows(ask, files, top=top, kept=predictions, is_quiet=False, with_all=probabilities))
        print_rows(counts.sift(rows), sys.stdout, form=form, num_experts=num_experts)
        sys.stderr.write(f"Next: mge predict {quote(str(run))} FOLDER --output predictions.csv\n")
    elif is_stream(place):
        with open_stream(place) as out:
            predictions = classify_to_stream(
                ask, files, out, form=form, num_experts=num_experts, top=top, counts=counts, with_all=probabilities
            )
    else:
        choices = {"cascade": cascade, "reject": reject, "threshold": threshold, "probabilities": probabilities}
        predictions = classify_to_file(
            ask, files, place, plan={"version": __version__, "model": model, **choices}, form=form,
            num_experts=num_experts, top=top, counts=counts, with_all=probabilities,
        )  # fmt: skip
        if rank == 0:
            _tell_written(counts.num_classified, output=place, run=run)
    counts.report(num_experts=num_experts if cascade else None)
    counts.check()
    return predictions


def _tell_written(num_classified: int, *, output: Path, run: str | Path) -> None:
    from mge.storage.run_folder import is_run  # noqa: PLC0415

    following = f"Next: mge evaluate {quote(str(run))}\n" if is_run(run) else ""  # a run has test photos
    sys.stderr.write(f"{num_classified} predictions written to {output}\n{following}")


def _check_threshold(threshold: float | None, *, reject: bool) -> float | None:
    if threshold is None:
        return None
    if not reject:
        raise ConfigError(f"threshold is {threshold:g} and reject is false; leave out one of them")
    return check_range("threshold", threshold, at_least=0, at_most=1)


def _choose_form(form: Form | None, output: str | Path | None) -> Form:
    if form is not None:
        check_choice("format", form, get_args(Form))
        return form
    suffixes: dict[str, Form] = {".csv": "csv", ".json": "json", ".jsonl": "jsonl", ".parquet": "parquet"}
    suffix = Path(output).suffix.lower() if output is not None else ""
    if output is not None and suffix not in suffixes:
        accepted = "a name that ends in .csv or .json, .jsonl or .parquet, or --format"
        raise ConfigError(f"output is {str(output)!r}; accepted: {accepted}")
    return suffixes.get(suffix, "text")


def _choose_place(form: Form, output: str | Path | None, *, num_processes: int) -> Path | None:
    """Return where predictions are written; None: to standard output.

    Raises:
        ConfigError: they have to go to a file, and none is given.
        StorageError: they cannot be written there.
        MissingExtraError: what writes the form is not installed.
    """
    if output is None and form == "parquet":
        raise ConfigError("format is 'parquet', which cannot be printed; give --output FILE")
    if output is None and num_processes > 1:
        raise ConfigError(f"{num_processes} processes share the photos and would all print; give --output FILE")
    check_form(form)
    place = None if output is None else check_file(output, flag="output", streams=True)
    if place is not None and is_stream(place) and (form == "parquet" or num_processes > 1):
        reason = "format is 'parquet'" if form == "parquet" else f"{num_processes} processes share the photos"
        raise ConfigError(f"output is {str(output)!r}, a pipe or a device, and {reason}; give a file")
    return place


def find_inputs(photos: list[str], *, run: str | Path, place: Path | None) -> list[Photo]:
    """Return the photos that names stand for.

    Raises:
        ConfigError: the output would replace one of them, or a file that lists or holds them.
        DataError: a name stands for nothing.
    """
    from mge.data.photo import NamedPhoto  # noqa: PLC0415
    from mge.data.sources.containers import find_files, photos_of  # noqa: PLC0415

    names = find_files(photos)
    found = photos_of(names)
    if place is not None and not is_stream(place):
        files = dict.fromkeys(photo.file if isinstance(photo, NamedPhoto) else photo for photo in found)
        check_is_not_read(place, [run, *names, *files], flag="output")
    return list(found)


def _own_device(device: str) -> str:
    """Return the device of this process: its own GPU under torchrun."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device
