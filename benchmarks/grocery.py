"""The mixture beside what it has to beat, on the Grocery Store Dataset: `python benchmarks/grocery.py [DATA]`.

Every contender has the recipe's backbone, augmentation, optimiser and passes over the photos, from scratch, on three
seeds; nothing was chosen on test photos. What is trained already is only read, and what was stopped goes on, so the
hours that this takes may be spread over days and machines: what benchmarks/results/grocery.json says of contenders
that were not trained on this one stays. Writes that file and tables in the docs after each run.
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

from mge.cascade.margin import exit_indices
from mge.config import DataConfig
from mge.data.dataset import PhotoDataset
from mge.data.sources import read_photos
from mge.evaluation.run_model import EvalOutputs, predict_photos
from mge.inference.classifier import Classifier
from mge.storage.model_folder import load_model
from mge.storage.run_folder import Run

HERE = Path(__file__).parent
DATA = HERE.parent.parent / "shared" / "data" / "grocery"
RECIPE = HERE.parent / "recipes" / "grocery.yaml"
SEEDS = (0, 1, 2)
# What our defaults decide and the presets decide otherwise; the rest of the recipe is everyone's.
OURS = ("zoom_resolution", "baseline")

FIGURES = RESULTS / "grocery.json"
PLAIN, EQUAL = "plain network, as many passes", "plain network, equal compute (112 px)"
ENSEMBLE = "ensemble of the three plain networks"
MIXTURE, CASCADE = "mixture, our recipe", "cascade of our recipe, for 0.2 points"
TEN, TEN_WITHOUT = "mixture, ten part filters", "mixture, ten part filters, no diversity"
# What answers → where it lies beside the recipe's run of the same seed.
FOLDERS = {
    PLAIN: "/plain", EQUAL: "/plain_equal_compute", "mixture, preset authors": "-authors",
    "mixture, preset paper": "-paper", MIXTURE: "", TEN: "-ten", TEN_WITHOUT: "-without",
    "student of our recipe's mixture": "-student", "student with five part filters": "-student-parts",
}  # fmt: skip
ORDER = [*list(FOLDERS)[:2], ENSEMBLE, *list(FOLDERS)[2:5], CASCADE, *list(FOLDERS)[5:]]
STUDENTS: dict[str, dict[str, Any]] = {"-student": {}, "-student-parts": {"part_filters": 5}}
TRAINED = ("", "-authors", "-paper", "-ten", "-without", *STUDENTS)
EXPERTS = {
    "seeds": "seeds", "experts": "experts %", "disagree": "pairs that disagree %",
    "correlation": "correlation of errors", "mean": "mean %", "oracle": "oracle %",
}  # fmt: skip


def main() -> None:
    """Trains what is missing, seed by seed, and writes the tables after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=DATA, help="folder of the data set")
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="which to train")
    parser.add_argument("--only-read", action="store_true", help="train nothing, write the tables of what there is")
    given = parser.parse_args()
    if given.only_read:
        write(given.data, seeds=given.seeds)
        return
    runs = [(seed, name) for seed in given.seeds for name in TRAINED]
    for seed, name in sorted(runs, key=lambda run: (run[1] != "", run[0])):  # what matters most comes first
        train(str(given.data), seed=seed, name=name)
        write(given.data, seeds=given.seeds)


def train(data: str, *, seed: int, name: str) -> None:
    """One contender on one seed; the recipe's own run trains both plain networks too."""
    recipe = {**yaml.safe_load(RECIPE.read_text(encoding="utf-8")), "seed": seed}
    shared = {option: value for option, value in recipe.items() if option not in OURS}
    folder = f"grocery-seed{seed}"
    if name in STUDENTS:
        distill_once(folder + name, RUNS / folder, STUDENTS[name])
        return
    options: dict[str, dict[str, Any]] = {
        "": recipe,
        "-ten": {**recipe, "part_filters": 10, "baseline": "none"},
        "-without": {**recipe, "part_filters": 10, "diversity": "none", "baseline": "none"},
        "-authors": {**shared, "preset": "authors", "precision": "auto"},
        "-paper": {**shared, "preset": "paper", "precision": "auto", "epochs": recipe["epochs"] // recipe["experts"]},
    }
    train_once(folder + name, data, options[name])


def write(data: Path, *, seeds: tuple[int, ...]) -> None:
    """All figures that there are so far, as JSON and as tables."""
    stored = json.loads(FIGURES.read_text(encoding="utf-8"))["test"] if FIGURES.exists() else {}
    figures = stored | measure(data, seeds=seeds)
    head = {"command": "python benchmarks/grocery.py", "recipe": "recipes/grocery.yaml"}
    FIGURES.write_text(json.dumps({**head, "test": figures}, indent=1) + "\n", encoding="utf-8")
    write_table("grocery", accuracy_rows(figures))
    write_table("grocery experts", expert_rows(figures))


def measure(data: Path, *, seeds: tuple[int, ...]) -> dict[str, dict[str, Any]]:
    """The figures of each contender of which there is a run."""
    figures, answers = {}, {}
    for name, place in FOLDERS.items():
        folders = {seed: Path(f"{RUNS}/grocery-seed{seed}{place}") for seed in seeds}
        folders = {seed: folder for seed, folder in folders.items() if Run(folder).summary()}
        if not folders:
            continue
        answers[name] = {seed: answer(folder, data) for seed, folder in folders.items()}
        hits = {seed: its.logits.argmax(1) == its.labels for seed, its in answers[name].items()}
        figures[name] = figure(hits, multiply_adds=cost(folders[min(folders)]))
        if name in (MIXTURE, TEN, TEN_WITHOUT):
            figures[name]["experts"] = differ(list(answers[name].values()))
    if MIXTURE in answers:
        stops = {seed: stop(its, Run(RUNS / f"grocery-seed{seed}")) for seed, its in answers[MIXTURE].items()}
        hits = {seed: right_where_stopped(its, stops[seed]) for seed, its in answers[MIXTURE].items()}
        num_experts = next(iter(answers[MIXTURE].values())).joint_labels.shape[1]
        share = statistics.mean((each + 1).float().mean().item() for each in stops.values()) / num_experts
        figures[CASCADE] = figure(hits, multiply_adds=share * figures[MIXTURE]["multiply_adds"])
    if len(answers.get(PLAIN, ())) >= 3:
        three = list(answers[PLAIN].values())[:3]
        figures[ENSEMBLE] = figure({0: ensemble(three)}, multiply_adds=3 * figures[PLAIN]["multiply_adds"])
    return figures


def figure(hits: dict[int, Tensor], *, multiply_adds: float) -> dict[str, Any]:
    """Accuracy by seed, its interval, and what a photo costs, out of which test photos were answered rightly."""
    top1 = {str(seed): 100 * its.float().mean().item() for seed, its in hits.items()}
    return {"test_top1": top1, "interval": interval(list(hits.values())), "multiply_adds": multiply_adds}


def stop(answers: EvalOutputs, run: Run) -> Tensor:
    """(N,) the expert after which each photo leaves the cascade, by the thresholds that are stored with the model."""
    thresholds = load_model(run.best).metadata["cascade"]["leads"]
    return exit_indices(answers.prefix_margins[:, :-1], thresholds)


def answer(folder: Path, data: Path) -> EvalOutputs:
    """What a run's best model answers about the test photos; remembered beside the run."""
    remembered = folder / "report" / "test_answers.pt"
    if remembered.exists():
        saved = torch.load(remembered, weights_only=True)
        return EvalOutputs(**{name: saved[name] for name in EvalOutputs._fields})
    config = Run(folder).config()
    options = {name: value for name, value in config.items() if name in DataConfig.__dataclass_fields__}
    photos = read_photos(data, config=DataConfig.from_dict(options), seed=config["seed"], format="auto")
    classifier = Classifier.from_stored(load_model(Run(folder).best))
    tests = PhotoDataset(
        photos.split("test"), photos.class_names, side=classifier.side, config=DataConfig.from_dict(options),
        train=False, seed=config["seed"],
    )  # fmt: skip
    answers = predict_photos(Fabric(accelerator="cpu", devices=1), classifier.model, tests, batch_size=64)
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


def right_where_stopped(answers: EvalOutputs, stops: Tensor) -> Tensor:
    """(N,) whether the mixture of the experts up to the last that looked is right."""
    return answers.prefix_labels.gather(1, stops.unsqueeze(1)).squeeze(1) == answers.labels


def ensemble(networks: list[EvalOutputs]) -> Tensor:
    """(N,) whether the mean of several networks' probabilities is right."""
    probabilities = torch.stack([network.logits.softmax(1) for network in networks]).mean(0)
    return probabilities.argmax(1) == networks[0].labels


def accuracy_rows(figures: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The table of accuracy beside cost."""
    rows = [["model", "seeds", "test accuracy in %", "95 % interval", "minus plain", "million multiply-adds"]]
    for name in (name for name in ORDER if name in figures):
        top1, (low, high), multiply_adds = (figures[name][key] for key in ("test_top1", "interval", "multiply_adds"))
        gains = beside_plain(name, top1, plain=figures[PLAIN]["test_top1"])
        interval_text = f"{low:.1f} to {high:.1f}"
        rows.append([name, str(len(top1)), spread(top1.values()), interval_text, gains, f"{multiply_adds:.0f}"])
    return rows


def beside_plain(name: str, top1: dict[str, float], *, plain: dict[str, float]) -> str:
    """How far a contender is from the plain network, seed by seed; the ensemble of all, from their mean."""
    if name == ENSEMBLE:
        return spread(value - statistics.mean(plain.values()) for value in top1.values())
    both = sorted(top1.keys() & plain.keys())
    return spread(top1[seed] - plain[seed] for seed in both) if both else ""


def interval(hits: list[Tensor], *, rounds: int = 2000) -> tuple[float, float]:
    """Bootstrap interval in percent of the mean over seeds: photos are drawn anew, each with all of its answers."""
    mean = torch.stack(hits).float().mean(0)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(mean), (rounds, len(mean)), generator=generator)
    low, high = (100 * mean[drawn].mean(1)).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def expert_rows(figures: dict[str, dict[str, Any]]) -> list[list[str]]:
    """The table of how different the experts are."""
    found = {name: figures[name]["experts"] for name in ORDER if "experts" in figures.get(name, {})}
    return [["mixture", *EXPERTS.values()], *([name, *(its[key] for key in EXPERTS)] for name, its in found.items())]


def differ(answers: list[EvalOutputs]) -> dict[str, str]:
    """How different the experts are, over seeds, as the table says it."""
    measured = [differences(its) for its in answers]
    return {
        "seeds": str(len(measured)),
        "experts": " / ".join(spread(column) for column in zip(*(each["experts"] for each in measured), strict=True)),
        "correlation": f"{statistics.mean(each['correlation'] for each in measured):.2f}",
        **{key: spread(each[key] for each in measured) for key in ("disagree", "mean", "oracle")},
    }


def differences(answers: EvalOutputs) -> dict[str, Any]:
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
