"""A stored or exported model in a few facts: for notebooks, and for `mge info`. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mge.config import ModelConfig
from mge.storage.fitted_parameters import read_least_probability, read_temperature, read_thresholds

NUM_NAMED = 5  # classes listed by name


def list_facts(config: ModelConfig, class_names: Sequence[str], metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts of a model by their names, in order.

    Args:
        config: The architecture.
        class_names: Names of the classes.
        metadata: The other content of model.json: provenance, fitted parameters.
    """
    more = f", … and {len(class_names) - NUM_NAMED:,} more" if len(class_names) > NUM_NAMED else ""
    provenance = metadata.get("provenance", {})
    facts = {
        "network": describe_network(config),
        "classes": f"{len(class_names):,}: {', '.join(class_names[:NUM_NAMED])}{more}",
        "view": f"{config.size} x {config.size} px of a photo of {config.photo_side} x {config.photo_side} px",
    }
    accuracy = provenance.get("val_top1_mixture")
    if isinstance(accuracy, int | float):
        facts["accuracy"] = f"{accuracy:.1f} % on the validation photos that selected the epoch"
    if "data" in provenance:
        facts["trained on"] = str(provenance["data"])
    if "calibration" in metadata:
        facts["calibration"] = f"softmax temperature {read_temperature(metadata):.3g}"
    least = read_least_probability(metadata)
    if least is not None:
        facts["rejection"] = f"unknown below a probability of {100 * least:.1f} %"
    if read_thresholds(metadata) is not None:
        facts["early exit"] = "thresholds are stored"
    return facts


def describe_network(config: ModelConfig) -> str:
    """Return backbone and experts in a few words."""
    if config.experts == 1:
        return f"{config.backbone}, one network"
    weights = "sharing one network" if config.share_experts else "with a network each"
    return f"{config.experts} experts on {config.backbone}, {weights}; gate: {config.gate}"


def describe_run(
    settings: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> dict[str, str]:
    """Return the facts of a run by their names, in order.

    Args:
        settings: Its resolved options.
        metrics: The metrics of its epochs.
        summary: Its final metrics; empty while it is not finished.
    """
    facts = {"data": str(settings.get("data", "unknown"))}
    if "backbone" in settings:
        facts["trained"] = f"{settings.get('experts')} experts on {settings['backbone']}, {settings.get('size')} px"
    if not summary:
        last = f"; the last of {len(metrics)} epochs: epoch {metrics[-1]['epoch']}" if metrics else ""
        return {**facts, "state": f"not finished{last}"}
    facts["state"] = f"finished, {len(metrics)} epochs"
    photos = f"on {summary['num_photos']} {summary.get('split')} photos" if "num_photos" in summary else ""
    names = {
        "mixture_top1": "accuracy", "plain_top1": "plain network", "plain_equal_compute_top1": "equal compute",
        "student_top1": "student", "teacher_top1": "teacher",
    }  # fmt: skip
    facts |= {
        title: f"{summary[name]:.1f} % {photos}".rstrip()
        for name, title in names.items()
        if isinstance(summary.get(name), int | float)
    }
    return facts | ({"verdict": str(summary["verdict"])} if "verdict" in summary else {})
