"""Lets evaluations, choices, resumed trainings, loads and predictions race on one run folder, and kills some of them.

`python benchmarks/races.py [MINUTES]` writes benchmarks/results/races.json. A small training is begun and killed at a
random moment. Then come rounds: in each, three to five of the operations begin at random moments in processes of their
own, and about a third of them is killed (SIGKILL), half of these while a file lies half written. After each round
everything has to load, and:

- an operation that was not killed has succeeded, or was refused in one line;
- the weights in `best/` are of no older epoch than before the round, and those of a finished run are bit for bit those
  of a run that was alone;
- where the weights have not changed, each choice (temperature, rejection, cascade) is the one from before the round or
  one that an operation of the round has made, and not the one from before if such an operation has succeeded.

A finished run stays for some rounds before the next training begins.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import json
import os
import platform
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kills import TINY, digests, is_over, unfinished
from PIL import Image
from trainings import RESULTS

import mge
import mge.training.run
from mge.storage.checkpoint import load_checkpoint
from mge.storage.model_folder import load_model
from mge.storage.run_folder import Run

OPTIONS: dict[str, Any] = {**TINY, "schedule": "joint", "workers": 0, "checkpoint_steps": 1}
FUSIONS = ("all", "chosen")  # of the trainings in turn: a chosen fusion writes `best/` once more at the end
ROUNDS_DONE = 6  # with a finished run
KILLED = 1 / 3  # of the operations, if they are not done before
KILLED_WITHIN = 0.25  # of the time that a whole training takes
DONE, REFUSED, DIED, BROKEN = "done", "refused in one line", "killed", "BROKEN"


@dataclasses.dataclass
class Operation:
    """What one process of a round does.

    Args:
        name: What it is called.
        act: Does it.
        choice: The part of model.json that it sets, and to what; None where it chooses nothing.
    """

    name: str
    act: Callable[[], object]
    choice: tuple[str, object] | None = None
    outcome: str = ""
    said: str = ""


def main() -> None:
    """Races for some minutes, and writes what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", nargs="?", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0, help="decides operations and moments")
    parser.add_argument("--json", type=Path, default=RESULTS / "races.json", help="where the figures go")
    given = parser.parse_args()
    torch.set_num_threads(1)
    race = Race(random.Random(given.seed))
    with tempfile.TemporaryDirectory() as folder:
        race.prepare(Path(folder))
        started = time.monotonic()
        while time.monotonic() - started < 60 * given.minutes:
            race.run_round()
    write(race, seed=given.seed, minutes=given.minutes, file=given.json)
    if race.wrong:
        sys.exit("\n".join(race.wrong))


class Race:
    """The run folder that everything happens to, and what has happened."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.outcomes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        self.refusals: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []
        self.num_rounds = self.num_runs = self.num_finished = self.num_half_written = self.num_changes = 0
        self.rounds_left = 0

    def prepare(self, folder: Path) -> None:
        """Draws photos, and trains the run that is alone; here, so that later processes have imported all they need."""
        self.folder = folder
        self.photos = draw_photos(folder / "photos")
        mge.training.run.draw_best = lambda *_, **__: None  # takes longer than all the rest
        with (folder / "log").open("w") as log, contextlib.redirect_stdout(log):
            mge.train(self.photos, out=folder / "first", **OPTIONS)
            begun = time.monotonic()
            alone = {
                fusion: mge.train(self.photos, out=folder / f"alone-{fusion}", **{**OPTIONS, "fusion": fusion})
                for fusion in FUSIONS
            }
            self.seconds = (time.monotonic() - begun) / len(FUSIONS)
            mge.evaluate(alone["all"], report=False)
            mge.predict(alone["all"].folder, [str(self.photos)])
        self.alone = {fusion: digests(run) for fusion, run in alone.items()}
        self._begin_run()

    def run_round(self) -> None:
        """One round, and what has to hold after it."""
        before = self._state()
        operations = [self._draw() for _ in range(self.chance.randint(3, 5))]
        self._wait([self._begin(operation) for operation in operations])
        self.num_rounds += 1
        for operation in operations:
            self.outcomes[operation.name][operation.outcome] += 1
            if operation.outcome == REFUSED:
                self.refusals[_kind(operation.said)] += 1
            if operation.outcome == BROKEN:
                self._blame(f"{operation.name}: {operation.said}")
        self._check(before, operations)
        if self.run.summary():
            self.rounds_left -= 1
            if not self.rounds_left:
                self._begin_run()

    def _begin_run(self) -> None:
        """A new training, killed at a random moment after it has a model."""
        self.fusion = FUSIONS[self.num_runs % len(FUSIONS)]
        self.num_runs += 1
        self.run, self.rounds_left = Run(self.folder / f"run-{self.num_runs}"), ROUNDS_DONE
        while not self.run.best.is_dir():
            again = self.run.folder.exists()
            act = self._resume if again else self._train
            child, _, _ = self._begin(Operation("train", act), at_once=True)
            time.sleep(self.chance.uniform(0.2, 0.6) * self.seconds)
            self._kill(child)
            os.waitpid(child, 0)

    def _train(self) -> object:
        return mge.train(self.photos, out=self.run.folder, **{**OPTIONS, "fusion": self.fusion})

    def _resume(self) -> object:
        return mge.train(resume=self.run.folder)

    def _draw(self) -> Operation:
        """An operation drawn at random."""
        evaluate = functools.partial(mge.evaluate, self.run.folder, report=False)
        threshold, loss = round(self.chance.random(), 6), round(self.chance.uniform(1, 50), 6)
        return self.chance.choice([
            Operation("evaluate", evaluate),
            Operation("calibrate", lambda: evaluate(calibrate=True), ("calibration", None)),
            Operation("reject", lambda: evaluate(reject=threshold), ("rejection", threshold)),
            Operation("cascade", lambda: evaluate(cascade=True, max_accuracy_loss=loss), ("cascade", loss)),
            Operation("resume", self._resume),
            Operation("load", lambda: [mge.load(self.run.folder, fast=False) for _ in range(5)]),
            Operation("predict", lambda: mge.predict(self.run.folder, [str(self.photos)])),
        ])  # fmt: skip

    def _begin(self, operation: Operation, *, at_once: bool = False) -> tuple[int, Operation, float | None]:
        """A process of its own, after a random pause; and after how many seconds it is to be killed."""
        pause = 0.0 if at_once else self.chance.uniform(0, 0.5)
        dies = not at_once and operation.name != "train" and self.chance.random() < KILLED
        killed_after = self.chance.uniform(0, KILLED_WITHIN) * self.seconds if dies else None
        log = self.folder / f"log-{self.chance.getrandbits(64):x}"
        operation.said = str(log)
        child = os.fork()
        if child:
            return child, operation, killed_after
        code = 1
        try:
            os.setsid()
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(descriptor, 2)
            time.sleep(pause)
            code = _act(operation)
        finally:
            os._exit(code)

    def _wait(self, begun: list[tuple[int, Operation, float | None]]) -> None:
        """Waits for all processes of a round, and kills those that are to die."""
        started = time.monotonic()
        left, killed = list(begun), set()
        while left:
            time.sleep(0.002)
            for each in list(left):
                child, operation, killed_after = each
                late = -1.0 if killed_after is None else time.monotonic() - started - killed_after
                if is_over(child):
                    self._note(operation, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                    left.remove(each)
                elif late > 0 and child not in killed:
                    half_written = any(unfinished(self.run.folder))
                    if half_written or child % 2 or late > KILLED_WITHIN * self.seconds:
                        self.num_half_written += half_written
                        self._kill(child)
                        killed.add(child)

    def _kill(self, child: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)

    def _note(self, operation: Operation, code: int) -> None:
        """What became of an operation, and what it said."""
        log = Path(operation.said)
        operation.said = log.read_text(errors="replace") if log.exists() else ""
        log.unlink(missing_ok=True)
        names = {0: DONE, 2: REFUSED, 74: REFUSED, 75: REFUSED, -signal.SIGKILL: DIED}
        operation.outcome = names.get(code, BROKEN)
        if operation.outcome == REFUSED and "is damaged" in operation.said:
            operation.outcome = BROKEN

    def _state(self) -> dict[str, Any]:
        """What is in `best/`."""
        stored = load_model(self.run.best)
        metadata = stored.metadata
        return {
            "epoch": (metadata["provenance"]["stage"], metadata["provenance"]["epoch"], "gate_trust" in metadata),
            "weights": stored.weights_sha256,
            "calibration": metadata.get("calibration", {}).get("temperature"),
            "rejection": metadata.get("rejection", {}).get("threshold"),
            "cascade": metadata.get("cascade", {}).get("max_accuracy_loss"),
        }

    def _check(self, before: dict[str, Any], operations: list[Operation]) -> None:
        """Notes what does not hold after a round."""
        try:
            mge.load(self.run.folder, fast=False)
            load_checkpoint(self.run.checkpoint_path)
            self.run.config(), self.run.metrics(), self.run.origin(), self.run.identity()
            after = self._state()
        except mge.MgeError as error:
            self._blame(f"does not load: {error}")
            return
        if after["epoch"] < before["epoch"]:
            self._blame(f"best/ of {after['epoch']} over that of {before['epoch']}")
        if after["weights"] == before["weights"]:
            for name in ("calibration", "rejection", "cascade"):
                is_new = before["calibration"] != after["calibration"]  # a new temperature takes rejection away
                if not (name == "rejection" and is_new and after[name] is None):
                    self._check_choice(name, before[name], after[name], operations)
        else:
            self.num_changes += 1
        if self.run.summary() and self.rounds_left == ROUNDS_DONE:
            self.num_finished += 1
            if digests(self.run) != self.alone[self.fusion]:
                self._blame("a finished run has other bits than the one that was alone")

    def _check_choice(self, name: str, before: object, after: object, operations: list[Operation]) -> None:
        made = [operation for operation in operations if operation.choice and operation.choice[0] == name]
        ended = any(operation.name == "resume" for operation in operations) and before is None  # training chooses, too
        if name == "calibration":
            allowed = after is not None if before is not None or any(each.outcome == DONE for each in made) else True
        else:
            values = {each.choice[1] for each in made if each.choice and each.outcome in (DONE, DIED)}
            must_change = any(each.outcome == DONE for each in made)
            allowed = after in values or (after == before and not must_change) or ended
        if not allowed:
            self._blame(
                f"{name} was {before}, and is {after} after {[(each.name, each.outcome) for each in operations]}"
            )

    def _blame(self, what: str) -> None:
        self.wrong.append(f"round {self.num_rounds} on {self.run.folder.name}: {what}")
        sys.stderr.write(self.wrong[-1] + "\n")


def draw_photos(folder: Path) -> Path:
    """Class folders with small photos of one colour and noise each."""
    generator = np.random.default_rng(0)
    for label, color in {"apple": (200, 40, 40), "lime": (40, 180, 60), "plum": (90, 40, 160)}.items():
        (folder / label).mkdir(parents=True)
        for number in range(24):
            noise = generator.integers(-60, 60, (48, 48, 3))
            Image.fromarray((np.array(color) + noise).clip(0, 255).astype(np.uint8)).save(
                folder / label / f"{number}.png"
            )
    return folder


def _act(operation: Operation) -> int:
    """The exit code of an operation, as the command line has it."""
    try:
        operation.act()
    except mge.MgeError as error:
        line = str(error)
        os.write(2, f"mge: error: {line}\n".encode())
        return error.exit_code if "\n" not in line else 1
    except BaseException:  # noqa: BLE001  (a fork must end here)
        os.write(2, traceback.format_exc().encode())
        return 1
    return 0


def _kind(said: str) -> str:
    """A refusal without the names in it."""
    line = next((line for line in said.splitlines() if line.startswith("mge: error: ")), said)
    for words in ("is in use by", "was changed during the evaluation", "has no model yet"):
        if words in line:
            return f"… {words} …"
    return line


def write(race: Race, *, seed: int, minutes: float, file: Path) -> None:
    """Writes the figures as JSON."""
    figures = {
        "command": f"python benchmarks/races.py {minutes:g}", "seed": seed, "minutes": minutes, "options": OPTIONS,
        "fusions": FUSIONS,
        "machine": platform.machine(), "torch": torch.__version__, "num_rounds": race.num_rounds,
        "num_runs": race.num_runs, "num_finished_with_the_same_bits": race.num_finished,
        "num_rounds_in_which_the_weights_changed": race.num_changes, "num_kills_while_writing": race.num_half_written,
        "outcomes": {name: dict(sorted(counts.items())) for name, counts in sorted(race.outcomes.items())},
        "refusals": dict(race.refusals.most_common()), "wrong": race.wrong,
    }  # fmt: skip
    file.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
