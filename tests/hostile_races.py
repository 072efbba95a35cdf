"""Hostile company and hostile letters: files that others replace while they are read, and texts in every encoding.

Cases of the same kind as in `hostile`. The company is a process that goes on until the case has ended.
"""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

from mge.storage.files import write_text_atomically
from tests.hostile import NAMES, Make, lie, run, write_model
from tests.hostile_outputs import output, stdout
from tests.photos import write_class_folders, write_photo

SECONDS = 20  # after which the company goes home


def beside(make: Make, act: Callable[[Path], object]) -> Make:
    """A case, and another process that does something again and again."""

    def make_both(folder: Path) -> list[str]:
        arguments = make(folder)
        began = time.monotonic()
        if os.fork():
            return arguments
        while not (folder / "bytes").exists() and time.monotonic() - began < SECONDS:
            with contextlib.suppress(OSError):
                act(folder)
        os._exit(0)

    return make_both


def come_and_go(name: str) -> Callable[[Path], object]:
    """Takes a file or folder away, and brings it back."""

    def act(folder: Path) -> None:
        (folder / name).rename(folder / "away")
        time.sleep(0.002)
        (folder / "away").rename(folder / name)
        time.sleep(0.002)

    return act


def become_a_folder(name: str) -> Callable[[Path], object]:
    """Lets a name be a folder for a moment, and then nothing."""

    def act(folder: Path) -> None:
        (folder / name).mkdir()
        time.sleep(0.002)
        (folder / name).rmdir()

    return act


def rewrite(name: str, text: str) -> Callable[[Path], object]:
    """Writes a file anew, as an editor does."""

    def act(folder: Path) -> None:
        write_text_atomically(folder / name, text)
        time.sleep(0.002)

    return act


def cut(name: str) -> Callable[[Path], object]:
    """Lets a file be empty for a moment."""

    def act(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(b"")
        time.sleep(0.002)
        (folder / name).write_bytes(content)
        time.sleep(0.002)

    return act


def ask(folder: Path) -> list[str]:
    """Photos in class folders, to classify."""
    photos = write_class_folders(folder / "photos", per_class=4)
    return ["predict", str(write_model(folder / "model")), str(photos), "--output", str(folder / "p.csv")]


def lock(prepare: Callable[[Path], object]) -> Make:
    """A model with a lock beside it, which is to be calibrated."""

    def make(folder: Path) -> list[str]:
        photos = write_class_folders(folder / "photos", per_class=2)
        prepare(folder / ".model.lock")
        model = str(write_model(folder / "model"))
        return ["evaluate", model, str(photos), "--reject", "0.5", "--no-report", "--out", str(folder / "e.json")]

    return make


# What these links lead to lies in the folder of the case: a lock that follows links writes to its target, and
# removes it. No test may be able to do that to a file of the machine.


def link_to_a_pipe(file: Path) -> None:
    os.mkfifo(file.with_name("pipe"))
    file.symlink_to("pipe")


def link_to_a_file(file: Path) -> None:
    file.with_name("own.txt").write_text("mine")
    file.symlink_to("own.txt")


RACES: dict[str, Make] = {
    "photos that come and go": beside(ask, come_and_go("photos/lime")),
    "a photo that is empty now and then": beside(ask, cut("photos/lime/0.png")),
    "a model that comes and goes": beside(ask, come_and_go("model")),
    "a description that comes and goes": beside(ask, come_and_go("model/model.json")),
    "a description that is empty now and then": beside(ask, cut("model/model.json")),
    "a description that is written anew": beside(ask, rewrite("model/model.json", "{}")),
    "an output that is a folder now and then": beside(ask, become_a_folder("p.csv")),
    "an output that others write, too": beside(ask, rewrite("p.csv", "of somebody else")),
    "a run that comes and goes": beside(run(lambda home: None), come_and_go("run")),
    "a configuration of a run that comes and goes": beside(run(lambda home: None), come_and_go("run/config.yaml")),
    "a lock that is a pipe": lock(os.mkfifo),
    "a lock that is a link to a pipe": lock(link_to_a_pipe),
    "a lock that is a link to a file": lock(link_to_a_file),
    "a lock that is a link to nothing": lock(lambda file: file.symlink_to("nothing")),
    "a lock that is a folder": lock(Path.mkdir),
}


# Letters


def said(name: str, label: str = "\u0436\u0443\u043a") -> Make:
    """A prediction that is printed in an encoding."""
    make = stdout(lambda home: (home / "encoding").write_text(name))

    def make_all(folder: Path) -> list[str]:
        arguments = make(folder)
        lie(folder / "model", class_names=[label, *NAMES[1:]])
        return arguments

    return make_all


def listed(content: bytes, name: str = "list.csv", photo: str = "\u0436.png") -> Make:
    """A list of photos in an encoding, to classify."""

    def make(folder: Path) -> list[str]:
        write_photo(folder / photo, (200, 0, 0))
        (folder / name).write_bytes(content)
        return ["predict", str(write_model(folder / "model")), str(folder / name), "--output", str(folder / "p.csv")]

    return make


def name_of_bytes(folder: Path) -> list[str]:
    """A photo and an output whose names are no text in any encoding."""
    write_photo(folder / "good.png", (200, 0, 0))
    (folder / "good.png").rename(os.fsdecode(os.fsencode(folder) + b"/\xff\xfe.png"))
    photo, place = (os.fsdecode(os.fsencode(folder) + name) for name in (b"/\xff\xfe.png", b"/\x80.csv"))
    return ["predict", str(write_model(folder / "model")), photo, "--output", place]


LETTERS: dict[str, Make] = {
    "a standard output in Latin 1": said("latin-1"),
    "a standard output in UTF-16": said("utf-16"),
    "a standard output in Japanese": said("shift_jis", "\u017e\u017e\u017e"),
    "a standard output of no letters at all": said("ascii", "\U0001f426\u202e\u0301"),
    "a class of half a letter": said("utf-8", "\ud83d"),
    "a list in Russian": listed("path,label\n\u0436.png,\u0436\n".encode("cp1251")),
    "a list in Japanese": listed("path,label\n\u4e00.png,\u4e00\n".encode("shift_jis"), photo="\u4e00.png"),
    "a list in half UTF-8 and half Latin 1": listed("path,label\n\u0436.png,a\n".encode() + b"caf\xe9.png,b\n"),
    "a list in UTF-32": listed("path,label\n\u0436.png,a\n".encode("utf-32")),
    "a list with a mark of its encoding in every line": listed(b"\xef\xbb\xbfpath,label\n\xef\xbb\xbf\xd0\xb6.png,a\n"),
    "a list cut in the middle of a letter": listed("path,label\n\u0436.png,\u0436".encode()[:-1]),
    "JSON lines in UTF-16": listed('{"path": "\u0436.png", "label": "a"}\n'.encode("utf-16"), "list.jsonl"),
    "names that are no text": name_of_bytes,
    "an output whose name has orders to the terminal": output("\x1b[2J\u202e\n.csv"),
}  # fmt: skip
