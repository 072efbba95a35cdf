"""Record of a run's photos: used for training, for validation, or held out for testing."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from mge.errors import ModelFolderError
from mge.storage.files import write_atomically

PHOTOS = "photos.csv"  # in a run's folder
Use = Literal["train", "val", "test"]
USES: tuple[Use, ...] = get_args(Use)  # by decreasing influence on the model
COLUMNS = ("path", "label", "split", "size", "modified_ns", "digest")
NUM_DIGITS = 16  # of a photo's SHA-256: 64 bits distinguish some millions of photos


class KnownPhoto(NamedTuple):
    """A photo in a run's record.

    Args:
        name: Its path below the folder of the data; for a row of a table, its name for users.
        label: Name of its class.
        split: `train`, `val` or `test`.
        size: Bytes of the file that contains it; -1 if there is none.
        modified_ns: Modification time of that file, in nanoseconds; -1 if there is none.
        digest: The first digits of the SHA-256 of its content; empty if it could not be read.
    """

    name: str
    label: str
    split: Use
    size: int
    modified_ns: int
    digest: str


def write_known_photos(folder: Path, photos: Iterable[KnownPhoto]) -> None:
    """Write the record into a run's folder. Names that are not valid text keep their bytes.

    Raises:
        StorageError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(photos)
    content = text.getvalue().encode("utf-8", "surrogateescape")
    write_atomically(folder / PHOTOS, lambda file: file.write_bytes(content))


def read_known_photos(folder: Path) -> tuple[KnownPhoto, ...] | None:
    """Read the record of a run; None if there is none, as for runs of older versions.

    Raises:
        ModelFolderError: it is damaged.
    """
    file = folder / PHOTOS
    try:
        if not file.is_file():
            return None
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as opened:
            return tuple(_parse(csv.reader(opened)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, csv.Error) as error:
        raise ModelFolderError(f"{file} is damaged: {error}; copy it again or start a new run") from error


def _parse(rows: Iterator[list[str]]) -> Iterator[KnownPhoto]:
    if tuple(next(rows, ())) != COLUMNS:
        raise ValueError(f"its header is not {','.join(COLUMNS)}")
    for number, row in enumerate(rows, start=2):
        use = next((each for each in USES if len(row) == len(COLUMNS) and row[2] == each), None)
        if use is None:
            raise ValueError(f"row {number} is not a photo")
        name, label, _, size, modified_ns, digest = row
        yield KnownPhoto(name, label, use, int(size), int(modified_ns), digest)
