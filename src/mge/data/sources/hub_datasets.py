"""Data sets of the Hugging Face Hub: `hf:owner/name[:config][@revision]`."""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mge.data.records import PhotoSet
from mge.data.sources.columns import BY_NAME, AskedColumns
from mge.data.sources.extras import need_datasets
from mge.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

PREFIX = "hf:"


class HubDatasetName(NamedTuple):
    """A parsed name of a data set on the Hub.

    Args:
        repository: Owner and name.
        config: Name of a data set in it; None: its only one.
        revision: A branch, a tag or a commit; None: the newest.
    """

    repository: str
    config: str | None
    revision: str | None


class _Loaded(NamedTuple):
    """A loaded data set: the splits, their commit, and notes for users."""

    splits: "Mapping[str, Dataset]"
    commit: str
    notes: tuple[str, ...]


def is_hub(data: Path) -> bool:
    """Return whether this names a data set of the Hub, and nothing on disk."""
    return str(data).startswith(PREFIX) and not data.exists()


def parse_hub_name(text: str) -> HubDatasetName:
    """Parse `hf:owner/name[:config][@revision]`.

    Raises:
        DataError: it has another form.
    """
    match = re.fullmatch(r"hf:(\w[\w.-]*/\w[\w.-]*)(?::([^:@/]+))?(?:@(.+))?", text)
    if match is None:
        raise DataError(
            f"data {text!r} is not a valid name of a Hugging Face data set; accepted: hf:owner/name, "
            "hf:owner/name:config, hf:owner/name@revision, hf:owner/name:config@revision"
        )
    return HubDatasetName(*match.groups())


def read_hub(data: Path, asked: AskedColumns = BY_NAME) -> PhotoSet:
    """Read a data set of the Hub, which is downloaded once. No code of its owner is run.

    Raises:
        MissingExtraError: `datasets` is not installed.
        DataError: there is no such data set, the Hub cannot be reached, or a column is missing.
    """
    wanted = parse_hub_name(str(data))
    need_datasets()
    from mge.data.sources.photo_tables import PhotoTable, read_tables  # noqa: PLC0415  (needs the extra)

    loaded = _load(wanted)
    tables = [
        PhotoTable(split, dataset, [f"{wanted.repository}/{split}#{row}" for row in range(len(dataset))])
        for split, dataset in loaded.splits.items()
    ]
    source = f"Hugging Face Hub, {str(data).removeprefix(PREFIX)}, commit {loaded.commit}"
    photos = read_tables(tables, name=wanted.repository, source=source, asked=asked)
    config = "" if wanted.config is None else f":{wanted.config}"
    pinned = f"{PREFIX}{wanted.repository}{config}@{loaded.commit}"
    return dataclasses.replace(photos, notes=(*loaded.notes, *photos.notes), pinned=pinned)


def _load(wanted: HubDatasetName) -> _Loaded:
    import datasets  # noqa: PLC0415  (an optional extra, heavy)
    from datasets.packaged_modules.cache.cache import Cache  # noqa: PLC0415

    name = f"{PREFIX}{wanted.repository}"
    try:
        # With its scheme the name is never that of a folder in the working directory.
        builder = datasets.load_dataset_builder(
            f"hf://datasets/{wanted.repository}", wanted.config, revision=wanted.revision
        )
        notes = _check_revision(builder.hash, wanted, name=name) if isinstance(builder, Cache) else ()
        builder.download_and_prepare()
        return _Loaded(builder.as_dataset(), builder.hash, notes)
    except DataError:
        raise
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError) as error:
        raise _explain(error, name=name) from error


def _check_revision(commit: str, wanted: HubDatasetName, *, name: str) -> tuple[str, ...]:
    """Return a note if `datasets` read its cache instead of the Hub, which it does whatever the requested revision.

    Raises:
        DataError: a revision was requested, and the cache is not known to hold it.
    """
    if wanted.revision is None:
        return (f"the Hugging Face Hub is not reachable: reading {name} from the cache (commit {commit})",)
    if commit == wanted.revision:
        return ()
    raise DataError(
        f"the revision {wanted.revision!r} of {name} was not found: it does not exist or the Hub is not reachable, and "
        f"the cache has commit {commit}; offline, use {name}@{commit}"
    )


def _explain(error: Exception, *, name: str) -> DataError:
    """Return the error for a data set that was not loaded, with advice."""
    from datasets.exceptions import DatasetNotFoundError  # noqa: PLC0415  (an optional extra, heavy)

    if isinstance(error, DatasetNotFoundError):
        todo = (
            "check the name on https://huggingface.co/datasets; for a private or gated data set log in: hf auth login"
        )
    elif isinstance(error, ConnectionError):
        todo = (
            "without a network, download it on another machine, copy its HF_HOME folder (~/.cache/huggingface) here "
            "and set HF_HUB_OFFLINE=1; or copy its Parquet files and give their folder"
        )
    else:
        todo = f"a config is given as {name}:CONFIG, a revision as {name}@REVISION"
    reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
    return DataError(f"{name} cannot be loaded: {reason}; {todo}")
