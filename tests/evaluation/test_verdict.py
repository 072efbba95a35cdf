"""The verdict of a run: who is compared with whom, by which test, and what it advises."""

from pathlib import Path
from typing import Any

from mge.evaluation.verdict import describe_verdict
from mge.storage.run_folder import Run


def run_with(folder: Path, **right: str) -> Run:
    run = Run.create(folder, config={"data": "photos"})
    run.write_right({name: [hit == "1" for hit in hits] for name, hits in right.items()})
    return run


def figures_of(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    fusion = {"experts": 3, "trained_experts": 3, "first_expert_top1": 60.0, "all_experts_top1": 80.0}
    return {"mixture_top1": 80.0, "experts_top1": [60.0] * 3, "fusion": fusion, **more}


def test_the_mixture_is_compared_with_the_strongest_network_beside_it(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", model="1" * 80 + "0" * 20, first="1" * 60 + "0" * 40)
    run_with(tmp_path / "run" / "plain", model="1" * 70 + "0" * 30)
    figures = figures_of()
    assert describe_verdict(run, figures)["verdict"] == (
        "mixture 80.0 %, first expert only 60.0 %: 20.0 points above the first expert (McNemar p < 0.001)"
    )
    figures["plain_top1"] = 70.0
    assert describe_verdict(run, figures)["verdict"] == (
        "mixture 80.0 %, first expert only 60.0 %, plain network 70.0 %: 10.0 points above the plain network "
        "(McNemar p = 0.002)"
    )
    run_with(tmp_path / "run" / "plain_equal_compute", model="1" * 79 + "0" * 20 + "1")
    figures["plain_equal_compute_top1"] = 80.0
    verdict = describe_verdict(run, figures)["verdict"]
    assert ": the same as the plain network of equal compute (McNemar p = 1.00). The mixture brings no gain" in verdict


def test_a_loss_is_said_without_a_sign(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", model="1" * 80 + "0" * 20)
    run_with(tmp_path / "run" / "plain", model="1" * 85 + "0" * 14 + "1")
    verdict = describe_verdict(run, figures_of(plain_top1=86.0))["verdict"]
    assert ": 6.0 points below the plain network (McNemar p = 0.03" in verdict


def test_a_run_whose_later_experts_do_not_help_says_so(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", model="1100", first="1100")
    fusion = {"experts": 1, "trained_experts": 3, "first_expert_top1": 50.0, "all_experts_top1": 25.0}
    verdict = describe_verdict(run, {"mixture_top1": 50.0, "experts_top1": [50.0], "fusion": fusion})["verdict"]
    assert verdict.startswith(
        "network 50.0 %, first expert only 50.0 %: the same as the first expert (McNemar p = 1.00)"
    )
    assert "later experts bring no gain" in verdict


def test_a_plain_network_by_itself_has_no_verdict(tmp_path: Path) -> None:
    figures = {"mixture_top1": 50.0, "experts_top1": [50.0]}
    assert describe_verdict(run_with(tmp_path / "run", model="10"), figures) == {"alarms": []}
    assert describe_verdict(Run.create(tmp_path / "old", config={"data": "photos"}), figures) == {"alarms": []}
