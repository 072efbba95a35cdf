"""The fast path's pieces: the bfloat16 copy, the compiled file, the comparison."""

import math
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from mge.core.outputs import MixtureOutput
from mge.errors import ConfigError, MissingExtraError
from mge.inference.agreement import ask_again, close_calls, compare
from mge.inference.compiled import compile_mixture, concatenate, in_bfloat16, load_compiled, multiplies_bfloat16
from tests.models.networks import CLASSES, SIZE, build, draw, expert_of


def photos(count: int) -> Tensor:
    """The drawn spots as uint8."""
    return (draw(count) * 40 + 128).clamp(0, 255).to(torch.uint8)


def answer(net: nn.Module, images: Tensor) -> MixtureOutput:
    with torch.no_grad():
        return cast(MixtureOutput, net(images))


def output(logits: list[list[float]], boxes: list[list[list[float]]]) -> MixtureOutput:
    """An output of which only what is compared has a meaning."""
    nothing = torch.zeros(len(logits), 1)
    fields = dict.fromkeys(MixtureOutput._fields, nothing)
    return MixtureOutput(**{**fields, "logits": torch.tensor(logits), "boxes_xyxy": torch.tensor(boxes)})


def test_the_bfloat16_copy_leaves_the_network_alone_and_answers_in_float32() -> None:
    net, images = build(num_experts=2, gate="own"), photos(3)
    before = answer(net, images)
    found = answer(in_bfloat16(net), images)
    for field, value, exact in zip(MixtureOutput._fields, found, before, strict=True):
        assert value.dtype == torch.float32, field
        assert value.shape == exact.shape, field
    assert not torch.equal(found.logits, before.logits)
    assert compare(found, before).probability_difference < 0.02
    for field, value, exact in zip(MixtureOutput._fields, answer(net, images), before, strict=True):
        assert torch.equal(value, exact), field


@pytest.mark.parametrize(
    ("num_experts", "first_too", "exact"),
    [(2, False, "experts.0."), (2, True, None), (1, False, None)],
    ids=["the first of two stays in float32", "unless that is asked for", "a single network does not"],
)
def test_only_backbones_and_part_filters_compute_in_bfloat16(
    num_experts: int, first_too: bool, exact: str | None
) -> None:
    net = in_bfloat16(build(num_experts=num_experts), first_too=first_too)
    seen: dict[str, torch.dtype] = {}

    def note(name: str) -> None:
        def hook(_: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
            seen[name] = found.dtype

        net.get_submodule(name).register_forward_hook(hook)

    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            note(name)
    answer(net, photos(2))
    for name, dtype in seen.items():
        is_quick = ("backbone" in name or "part_filters" in name) and not (exact and name.startswith(exact))
        assert dtype == (torch.bfloat16 if is_quick else torch.float32), name


def test_agreement_is_counted_by_hand() -> None:
    whole, half, quarter = [0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 4.0, 8.0], [0.0, 0.0, 4.0, 4.0]
    exact = output([[0.0, 0.0], [0.0, 2.0]], [[whole, whole], [whole, half]])
    fast = output([[0.0, 0.1], [0.0, 2.0]], [[whole, half], [whole, half]])
    agreement = compare(fast, exact)
    assert agreement.num_photos == 2
    assert agreement.same_top1 == 0.5  # the first photo is a tie, which goes to class 0
    assert agreement.probability_difference == pytest.approx(1 / (1 + 2.718281828**-0.1) - 0.5, abs=1e-6)
    assert (agreement.mean_iou, agreement.worst_iou) == (0.75, 0.5)  # expert 0 sees the whole picture and is left out
    assert not agreement.is_equal  # by its boxes
    both = concatenate([exact, output([[5.0, 0.0]], [[whole, quarter]])])
    assert compare(both, both) == (3, 1.0, 0.0, 1.0, 1.0)
    assert compare(both, both).is_equal


def test_close_calls_are_decided_by_the_exact_network() -> None:
    box = [[0.0, 0.0, 8.0, 8.0]]
    quick = output([[0.0, 0.1], [0.0, 2.0], [0.1, 0.0]], [box] * 3)  # probabilities 0.475 and 0.525; 0.12 and 0.88
    pictures = torch.arange(3, dtype=torch.uint8).reshape(3, 1, 1, 1).expand(3, 3, 8, 8)
    asked = []

    def exact(images: Tensor) -> MixtureOutput:
        asked.extend(images[:, 0, 0, 0].tolist())
        return output([[3.0, 0.0]] * len(images), [[[1.0, 1.0, 2.0, 2.0]]] * len(images))

    found = ask_again(quick, exact, pictures, difference=0.026)
    assert asked == [0, 2]
    assert found.logits.tolist() == [[3.0, 0.0], [0.0, 2.0], [3.0, 0.0]]
    assert found.boxes_xyxy[:, 0, 0].tolist() == [1.0, 0.0, 1.0]
    assert ask_again(quick, exact, pictures, difference=0.024) is quick
    assert asked == [0, 2]


def test_an_answer_that_rounding_changed_is_always_a_close_call() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 5, generator=rng)
    rounded = logits + 0.1 * torch.randn(2000, 5, generator=rng)
    difference = (logits.softmax(1) - rounded.softmax(1)).abs().max().item()
    others = output(rounded.tolist(), [[[0.0, 0.0, 8.0, 8.0]]] * 2000)
    changed = logits.argmax(1) != rounded.argmax(1)
    assert changed.sum() > 50
    assert close_calls(others, difference=difference)[changed].all()
    assert not close_calls(others, difference=0.0).any()


def test_an_answer_that_is_no_number_is_always_a_close_call() -> None:
    others = output([[torch.nan, 0.0], [9.0, 0.0]], [[[0.0, 0.0, 8.0, 8.0]]] * 2)
    assert close_calls(others, difference=0.0).tolist() == [True, False]


def test_answers_that_are_no_numbers_disagree() -> None:
    box = [[0.0, 0.0, 8.0, 8.0]]
    exact = output([[1.0, 0.0], [1.0, 0.0]], [box] * 2)
    found = compare(output([[1.0, 0.0], [torch.nan, 0.0]], [box] * 2), exact)
    assert math.isnan(found.probability_difference)
    assert not found.is_equal


def test_a_single_network_has_no_boxes_to_disagree_about() -> None:
    one = output([[1.0, 0.0]], [[[0.0, 0.0, 8.0, 8.0]]])
    assert compare(one, one).mean_iou == 1.0


def test_amx_or_avx512_with_bf16_make_bfloat16_worth_while(monkeypatch: pytest.MonkeyPatch) -> None:
    for amx, avx in ((False, False), (True, False), (False, True)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx)
        assert multiplies_bfloat16("cpu") == (amx or avx)


def test_without_a_compiler_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import torch._inductor.config
    from torch._inductor import cpp_builder

    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("no-such-compiler",))
    cpp_builder.cpp_compiler_search.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"needs a C\+\+ compiler.*install g\+\+.*--no-fast$"):
            compile_mixture(build(num_experts=2), tmp_path / "graph.pt2")
    finally:
        cpp_builder.cpp_compiler_search.cache_clear()


def test_a_file_that_is_no_graph_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "graph.pt2").write_bytes(b"no graph")
    with pytest.raises(ConfigError, match=r"graph.pt2 could not be loaded: [^\n]*; delete it and try again$"):
        load_compiled(tmp_path / "graph.pt2", side=SIZE)


@pytest.mark.slow
@pytest.mark.compiled
def test_the_compiled_graph_answers_as_the_network_for_batches_of_any_size(tmp_path: Path) -> None:
    net, images = build(num_experts=2), photos(6)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    compile_mixture(net, tmp_path / "graph.pt2")
    graph = load_compiled(tmp_path / "graph.pt2", side=SIZE)
    whole = answer(net, images)
    for count in (1, 3, 6):
        found = graph(images[:count])
        for field, value, exact in zip(MixtureOutput._fields, found, whole, strict=True):
            torch.testing.assert_close(value, exact[:count], rtol=1e-4, atol=1e-4, msg=field)
    # Whatever lies differently in memory is read as it is meant.
    torch.testing.assert_close(graph(images.to(memory_format=torch.channels_last)).logits, graph(images).logits)
    with pytest.raises(AssertionError, match=r"pictures are torch.float32"):
        graph(images.float())
    with pytest.raises(AssertionError, match=r"pictures are \(6, 3, 32, 64\)"):
        graph(images[:, :, :32])
    assert whole.logits.shape == (6, CLASSES)
    assert (whole.boxes_xyxy[:, 1] != torch.tensor([0, 0, SIZE, SIZE])).any()  # an expert that saw a part of it
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in before.items())
    assert expert_of(net, 0).large_head.weight.requires_grad


@pytest.mark.slow
@pytest.mark.compiled
@pytest.mark.parametrize("backbone", ["test_convnext", "test_vit"])
def test_networks_without_batch_norm_compile_in_bfloat16(tmp_path: Path, backbone: str) -> None:
    net, images = build(backbone, num_experts=2), photos(4)
    compile_mixture(net, tmp_path / "graph.pt2", arithmetic="bfloat16")
    found, exact = load_compiled(tmp_path / "graph.pt2", side=SIZE)(images), answer(net, images)
    # The first expert's answers: a box that moved by a pixel gives the second one another picture.
    torch.testing.assert_close(found.joint_logits[:, 0], exact.joint_logits[:, 0], rtol=0, atol=0.1)
    torch.testing.assert_close(found.boxes_xyxy[:, 0], exact.boxes_xyxy[:, 0])
