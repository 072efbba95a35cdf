"""Facts of a report about the data and the origin of its metrics."""

import shlex
from collections import Counter
from pathlib import Path

from mge.evaluation.evaluation import Evaluation
from mge.evaluation.recorded_photos import below, common_folder
from mge.storage.environment import describe_environment
from mge.storage.run_folder import CONFIG, ENVIRONMENT, Run, read_json


def data_facts(evaluation: Evaluation) -> dict[str, str]:
    """Return the facts about the photos, in order."""
    selected, figures = evaluation.selected, evaluation.figures
    counts = Counter(record.split for record in selected.photos.records)
    classes = Counter(record.label for record in selected.readable)
    (largest, most), (smallest, least) = classes.most_common(1)[0], classes.most_common()[-1]
    facts = {
        "evaluated": f"{selected.description}: {figures['num_photos']:,} photos of {len(classes):,} classes",
        "largest class": f"{largest} ({most:,} photos)",
        "smallest class": f"{smallest} ({least:,} photos)",
        "data format": selected.photos.source,
        "splits": ", ".join(f"{split} {number:,}" for split, number in counts.items()),
    }
    if selected.photos.held_out:
        facts["held out of training"] = f"{', '.join(selected.photos.held_out)}: not defined by the data"
    if selected.broken:
        first = below(common_folder(selected.photos.records), Path(selected.broken[0].path))
        facts["unreadable"] = f"{len(selected.broken):,} photos, the first is {first}"
    if selected.photos.notes:
        facts["notes"] = " ".join(f"{note}." for note in selected.photos.notes)
    return facts


def origin_facts(evaluation: Evaluation, run: Run | None) -> dict[str, str]:
    """Return the facts needed to reproduce the metrics, in order; also about the training if there is a run."""
    now = describe_environment()
    config = evaluation.classifier.model.config
    facts = {
        "evaluation command": shlex.join(["mge", *now["command"][1:]]),
        "date": now["date"],
        "commit": now["commit"] or "unknown (not run from a git checkout)",
        "versions": f"python {now['python']}, "
        + ", ".join(f"{name} {version}" for name, version in now["packages"].items()),
        "machine": f"{now['processor']}, {now['cores']} cores, {now['platform']}",
        "model": f"{config.experts} experts, {config.backbone}, {config.size} px, gate {config.gate}, mix {config.mix}",
    }
    if run is not None and (then := read_json(run.folder / ENVIRONMENT, dict)):
        facts["training command"] = shlex.join(["mge", *then["command"][1:]])
        facts["trained on"] = f"{then['date']}, commit {then['commit'] or 'unknown'}"
        facts["seed"] = str(run.config("seed")["seed"])
        facts["all options"] = f"{CONFIG} in the run folder"
    return facts
