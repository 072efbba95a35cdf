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
    """What `hf:` text names.

    Args:
        repository: Owner and name.
        config: Which of the data sets in it; None: its only one.
        revision: A branch, a tag or a commit; None: the newest.
    """

    repository: str
    config: str | None
    revision: str | None


class _Loaded(NamedTuple):
    """What came: the splits, the commit that they are of, and what a person should know about it."""

    splits: "Mapping[str, Dataset]"
    commit: str
    notes: tuple[str, ...]


def is_hub(data: Path) -> bool:
    """Whether this names a data set of the Hub, and nothing on disk."""
    return str(data).startswith(PREFIX) and not data.exists()


def parse_hub_name(text: str) -> HubDatasetName:
    """The parts of `hf:owner/name[:config][@revision]`.

    Raises:
        DataError: it is none.
    """
    match = re.fullmatch(r"hf:(\w[\w.-]*/\w[\w.-]*)(?::([^:@/]+))?(?:@(.+))?", text)
    if match is None:
        raise DataError(
            f"data {text!r} is no name of a data set on the Hugging Face Hub; accepted: hf:owner/name, "
            "hf:owner/name:config, hf:owner/name@revision, hf:owner/name:config@revision"
        )
    return HubDatasetName(*match.groups())


def read_hub(data: Path, asked: AskedColumns = BY_NAME) -> PhotoSet:
    """Reads a data set of the Hub, which is downloaded once. No code of its owner is run.

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
    """Notes that the cache answered in place of the Hub, as `datasets` lets it, whatever revision was asked for.

    Raises:
        DataError: a revision was asked for, and the cache is not known to hold that.
    """
    if wanted.revision is None:
        return (f"the Hugging Face Hub did not answer: {name} is read from the cache, which holds commit {commit}",)
    if commit == wanted.revision:
        return ()
    raise DataError(
        f"the revision {wanted.revision!r} of {name} was not found: the Hub has none of that name or did not answer, "
        f"and the cache holds commit {commit}; accepted without the Hub: {name}@{commit}"
    )


def _explain(error: Exception, *, name: str) -> DataError:
    """What a user can do where a data set was not loaded."""
    from datasets.exceptions import DatasetNotFoundError  # noqa: PLC0415  (an optional extra, heavy)

    if isinstance(error, DatasetNotFoundError):
        todo = "check the name on https://huggingface.co/datasets; log in for a private or gated one: hf auth login"
    elif isinstance(error, ConnectionError):
        todo = (
            "where there is no network, download it elsewhere, copy the folder that HF_HOME names there "
            "(~/.cache/huggingface), and set HF_HUB_OFFLINE=1; or copy its Parquet files, and give their folder"
        )
    else:
        todo = f"a config is given as {name}:CONFIG, a revision as {name}@REVISION"
    reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
    return DataError(f"{name} cannot be loaded: {reason}; {todo}")
