"""The mixture beside what it has to beat, on the Grocery Store Dataset: `python benchmarks/grocery.py [DATA]`.

Every contender has the recipe's backbone, augmentation, optimiser and passes over the photos, from scratch, on three
seeds; nothing was chosen on test photos. What is trained already is only read, and what was stopped goes on, so the
hours that this takes may be spread over days. Writes benchmarks/results/grocery.json and tables in docs/results.md
after each run.
"""

import argparse
import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from trainings import RESULTS, RUNS, distill_once, spread, train_once, write_table

from mge.classifier import Classifier
from mge.config import DataConfig
from mge.data.dataset import PhotoDataset
from mge.data.sources import read_photos
from mge.storage.model_folder import load_model
from mge.storage.run_folder import Run
from mge.training.measure import Answers, answer_photos

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data" / "grocery"
RECIPE = HERE.parent / "recipes" / "grocery.yaml"
SEEDS = (0, 1, 2)
# What our defaults decide and the presets decide otherwise; the rest of the recipe is everyone's.
OURS = ("detail", "baseline")

MIXTURE = "mixture, our recipe"
PLAIN, EQUAL = "plain network, as many passes", "plain network, equal compute (112 px)"
WITHOUT = "mixture, our recipe without diversity"


def main() -> None:
    """Trains what is missing, seed by seed, and writes the tables after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=DATA, help="folder of the data set")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="which to train")
    parser.add_argument("--only-read", action="store_true", help="train nothing, write the tables of what there is")
    given = parser.parse_args()
    runs = [(seed, name) for seed in given.seeds for name in ("", "-without", "-authors", "-paper", "-student")]
    for seed, name in sorted(runs, key=lambda run: (run[1] != "", run[0])):  # what matters most comes first
        if not given.only_read:
            train(str(given.data), seed=seed, name=name)
        write(given.data, seeds=given.seeds)


def train(data: str, *, seed: int, name: str) -> None:
    """One contender on one seed; the recipe's own run trains both plain networks too."""
    recipe = {**yaml.safe_load(RECIPE.read_text(encoding="utf-8")), "seed": seed}
    shared = {option: value for option, value in recipe.items() if option not in OURS}
    folder = f"grocery-seed{seed}"
    if name == "-student":
        distill_once(folder + name, RUNS / folder, {})
        return
    options: dict[str, dict[str, Any]] = {
        "": recipe,
        "-without": {**recipe, "diversity": "none", "baseline": "none"},
        "-authors": {**shared, "preset": "authors", "precision": "auto"},
        "-paper": {**shared, "preset": "paper", "precision": "auto", "epochs": recipe["epochs"] // recipe["experts"]},
    }
    train_once(folder + name, data, options[name])


def write(data: Path, *, seeds: tuple[int, ...]) -> None:
    """All figures that there are so far, as JSON and as tables."""
    folders = {seed: RUNS / f"grocery-seed{seed}" for seed in seeds}
    contenders = {
        PLAIN: {seed: folder / "plain" for seed, folder in folders.items()},
        EQUAL: {seed: folder / "plain_equal_compute" for seed, folder in folders.items()},
        "mixture, preset authors": {
            seed: folder.with_name(f"{folder.name}-authors") for seed, folder in folders.items()
        },
        "mixture, preset paper": {seed: folder.with_name(f"{folder.name}-paper") for seed, folder in folders.items()},
        MIXTURE: folders,
        WITHOUT: {seed: folder.with_name(f"{folder.name}-without") for seed, folder in folders.items()},
        "student of our recipe's mixture": {
            seed: folder.with_name(f"{folder.name}-student") for seed, folder in folders.items()
        },
    }
    answers = {
        name: {seed: answer(folder, data) for seed, folder in by_seed.items() if Run(folder).summary()}
        for name, by_seed in contenders.items()
    }
    costs = {
        name: cost(next(folder for folder in by_seed.values() if Run(folder).summary()))
        for name, by_seed in contenders.items()
        if answers[name]
    }
    found = {name: {seed: right(its) for seed, its in by_seed.items()} for name, by_seed in answers.items() if by_seed}
    if len(answers[PLAIN]) >= 3:
        three = "ensemble of the three plain networks"
        found[three], costs[three] = {0: ensemble(list(answers[PLAIN].values())[:3])}, 3 * costs[PLAIN]
    cascades = [Run(folder).summary().get("cascade") for folder in contenders[MIXTURE].values()]
    write_accuracy(found, costs, cascades=[cascade for cascade in cascades if cascade])
    write_experts({name: answers[name] for name in (MIXTURE, WITHOUT)})


def answer(folder: Path, data: Path) -> Answers:
    """What a run's best model answers about the test photos; remembered beside the run."""
    remembered = folder / "report" / "test_answers.pt"
    if remembered.exists():
        saved = torch.load(remembered, weights_only=True)
        return Answers(**{name: saved[name] for name in Answers._fields})
    config = Run(folder).config()
    options = {name: value for name, value in config.items() if name in DataConfig.__dataclass_fields__}
    photos = read_photos(data, config=DataConfig.from_dict(options), seed=config["seed"], format="auto")
    classifier = Classifier.from_stored(load_model(Run(folder).best))
    tests = PhotoDataset(
        photos.split("test"), photos.class_names, side=classifier.side, config=DataConfig.from_dict(options),
        train=False, seed=config["seed"],
    )  # fmt: skip
    answers = answer_photos(Fabric(accelerator="cpu", devices=1), classifier.model, tests, batch_size=64)
    remembered.parent.mkdir(exist_ok=True)
    torch.save(answers._asdict(), remembered)
    return answers


def cost(folder: Path) -> float:
    """Millions of multiply-adds that one photo costs."""
    classifier = Classifier.from_stored(load_model(Run(folder).best))
    photo = torch.zeros(1, 3, classifier.side, classifier.side, dtype=torch.uint8)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        classifier.model(photo)
    return float(counter.get_total_flops()) / 2e6


def right(answers: Answers) -> Tensor:
    """(N,) whether each test photo was answered rightly."""
    return answers.logits.argmax(1) == answers.labels


def ensemble(networks: list[Answers]) -> Tensor:
    """(N,) whether the mean of several networks' probabilities is right."""
    probabilities = torch.stack([network.logits.softmax(1) for network in networks]).mean(0)
    return probabilities.argmax(1) == networks[0].labels


def write_accuracy(
    found: dict[str, dict[int, Tensor]], costs: dict[str, float], *, cascades: list[dict[str, Any]]
) -> None:
    """The table of accuracy beside cost."""
    rows = [["what answers", "seeds", "test accuracy in %", "95 % interval", "minus plain", "million multiply-adds"]]
    figures: dict[str, Any] = {}
    for name, by_seed in found.items():
        top1 = {seed: 100 * hits.float().mean().item() for seed, hits in by_seed.items()}
        low, high = interval(list(by_seed.values()))
        plain = {seed: 100 * hits.float().mean().item() for seed, hits in found[PLAIN].items()}
        gains = spread(top1[seed] - plain[seed] for seed in top1)
        figure = spread(top1.values())
        rows.append([name, str(len(top1)), figure, f"{low:.1f} to {high:.1f}", gains, f"{costs[name]:.0f}"])
        figures[name] = {"test_top1": top1, "interval": [low, high], "multiply_adds": costs[name]}
    for number, cascade in enumerate(cascades):
        figures[f"cascade, seed {number}"] = cascade
    text = (
        json.dumps(
            {"command": "python benchmarks/grocery.py", "recipe": "recipes/grocery.yaml", "test": figures},
            indent=1,
            default=str,
        )
        + "\n"
    )
    (RESULTS / "grocery.json").write_text(text, encoding="utf-8")
    write_table("grocery", rows)


def interval(hits: list[Tensor], *, rounds: int = 2000) -> tuple[float, float]:
    """Bootstrap interval in percent of the mean over seeds: photos are drawn anew, each with all of its answers."""
    mean = torch.stack(hits).float().mean(0)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(mean), (rounds, len(mean)), generator=generator)
    low, high = (100 * mean[drawn].mean(1)).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def write_experts(answers: dict[str, dict[int, Answers]]) -> None:
    """How different the experts are."""
    rows = [["mixture", "seeds", "experts %", "pairs that disagree %", "correlation of errors", "mean %", "oracle %"]]
    for name, by_seed in answers.items():
        if not by_seed:
            continue
        measured = [differences(its) for its in by_seed.values()]
        experts = " / ".join(spread(column) for column in zip(*(each["experts"] for each in measured), strict=True))
        others = [spread(each[key] for each in measured) for key in ("disagree", "mean", "oracle")]
        correlation = f"{statistics.mean(each['correlation'] for each in measured):.2f}"
        rows.append([name, str(len(measured)), experts, others[0], correlation, *others[1:]])
    write_table("grocery experts", rows)


def differences(answers: Answers) -> dict[str, Any]:
    """Accuracy of each expert in percent, and how they differ from each other, over all pairs."""
    hits = answers.joint_labels == answers.labels[:, None]
    pairs = list(itertools.combinations(range(hits.shape[1]), 2))
    correlations = torch.corrcoef(hits.float().T)
    return {
        "experts": (100 * hits.float().mean(0)).tolist(),
        "disagree": 100 * statistics.mean(
            (answers.joint_labels[:, one] != answers.joint_labels[:, other]).float().mean().item()
            for one, other in pairs
        ),
        "correlation": statistics.mean(correlations[one, other].item() for one, other in pairs),
        "mean": 100 * (answers.mean_labels == answers.labels).float().mean().item(),
        "oracle": 100 * hits.any(1).float().mean().item(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
