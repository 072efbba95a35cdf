"""What a mixture costs beside its floor: the plain backbones that it is made of, called one after the other."""

import contextlib
import dataclasses
import statistics
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from mge.config import ModelConfig, TrainConfig
from mge.data.loader import Batch
from mge.inference.devices import one_device
from mge.models.mixture import MixtureOfExperts
from mge.training.optimizer import build_optimizer
from mge.training.step import train_step, wrap


class Seconds(NamedTuple):
    """How long something took."""

    wall: float
    processor: float  # summed over this process's threads; other programs on the machine hardly change it


@dataclasses.dataclass(frozen=True)
class Case:
    """What is timed.

    Args:
        config: The mixture.
        num_classes: Number of classes.
        batch_size: Photos at a time.
        precision: Lightning Fabric's name of the precision.
        channels_last: Whether pictures and weights have channels last in memory.
        rounds: How often each side is timed, after one round that does not count.
        accelerator: Lightning Fabric's accelerator.
    """

    config: ModelConfig
    num_classes: int
    batch_size: int
    precision: str
    channels_last: bool
    rounds: int
    accelerator: str


class Bench:
    """A mixture and its floor on one device, with the same pictures.

    The floor is one timm classifier for each backbone of the mixture, fed with pictures of the size of a view.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.fabric = one_device(case.accelerator, precision=case.precision)
        model = MixtureOfExperts.from_config(case.config, num_classes=case.num_classes)
        self.model = self._place(model)
        num_floors = case.config.experts + (model.gate is not None and model.gate.backbone is not None)
        options: dict[str, Any] = {"output_stride": case.config.output_stride} if case.config.output_stride else {}
        self.floors = [
            self._place(timm.create_model(case.config.backbone, num_classes=case.num_classes, **options))
            for _ in range(num_floors)
        ]
        self.photos = self._pictures(case.config.photo_side)
        self.views = self._pictures(case.config.size)
        self.labels = torch.arange(case.batch_size, device=self.fabric.device) % case.num_classes

    def inference(self) -> dict[str, float]:
        """Seconds of a forward of both, their ratio, and the share that is neither expert nor gate."""
        self.model.eval()
        for floor in self.floors:
            floor.eval()
        inside = _Stopwatch(self._wait)
        experts = [inside.around(expert) for expert in self.model.experts_in_turn]

        def mixture() -> None:
            inside.seconds = 0.0
            passes = list(self.model.run_experts(self.photos, experts=experts))
            with inside:
                self.model.weigh(passes[0].view, passes[0].output.large_features)

        with torch.inference_mode(), self.fabric.autocast():
            pairs = self._interleave(lambda: self.model(self.photos), self._floor_forward)
            totals = [(self._time(mixture).wall, inside.seconds) for _ in range(self.case.rounds)]  # in this order
        outside = [1 - seconds / total for total, seconds in totals]
        return self._summary(pairs) | {"attention_boxes_zooms_percent": 100 * statistics.median(outside)}

    def training(self) -> dict[str, float]:
        """Seconds of a training step of both, and bytes of activations that wait for a backward."""
        self.model.train()
        config = TrainConfig(optimizer="sgd")
        network, batch = wrap(self.fabric, self.model), Batch(self.photos, self.labels, self.labels)
        optimizer = build_optimizer(self.model, config)
        optimizers = [
            torch.optim.SGD(net.train().parameters(), lr=1e-3, momentum=0.9, foreach=True) for net in self.floors
        ]

        def mixture() -> None:
            train_step(self.fabric, network, batch, config=config)
            optimizer.step()
            optimizer.zero_grad()

        def floor() -> None:
            for net, its_optimizer in zip(self.floors, optimizers, strict=True):
                self._floor_backward(net)
                its_optimizer.step()
                its_optimizer.zero_grad()

        pairs = self._interleave(mixture, floor)
        with waiting_bytes() as mixture_bytes:
            mixture()
        with waiting_bytes() as floor_bytes:
            self._floor_backward(self.floors[0])
        peaks = {"activation_bytes": mixture_bytes.peak, "plain_activation_bytes": floor_bytes.peak}
        return self._summary(pairs) | peaks | {"activation_ratio": mixture_bytes.peak / floor_bytes.peak}

    def sizes(self) -> dict[str, int]:
        """Numbers of parameters."""
        nets = nn.ModuleList(self.floors)
        return {"parameters": _count(self.model), "floor_parameters": _count(nets)}

    def _floor_forward(self) -> None:
        for net in self.floors:
            net(self.views)

    def _floor_backward(self, net: nn.Module) -> None:
        with self.fabric.autocast():
            loss = functional.cross_entropy(net(self.views).float(), self.labels)
        loss.backward()

    def _interleave(self, mine: Callable[[], object], theirs: Callable[[], object]) -> list[tuple[Seconds, Seconds]]:
        pairs = [(self._time(mine), self._time(theirs)) for _ in range(self.case.rounds + 1)]
        return pairs[1:]

    def _time(self, work: Callable[[], object]) -> Seconds:
        self._wait()
        started, worked = time.perf_counter(), time.process_time()
        work()
        self._wait()
        return Seconds(time.perf_counter() - started, time.process_time() - worked)

    def _wait(self) -> None:
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()

    def _summary(self, pairs: list[tuple[Seconds, Seconds]]) -> dict[str, float]:
        ratios = [mine.wall / floor.wall for mine, floor in pairs]
        seconds = statistics.median(mine.wall for mine, _ in pairs)
        return {
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
            "processor_ratio": statistics.median(mine.processor / floor.processor for mine, floor in pairs),
            "mixture_seconds": seconds,
            "floor_seconds": statistics.median(floor.wall for _, floor in pairs),
            "photos_per_second": self.case.batch_size / seconds,
        }

    def _place(self, net: Any) -> Any:  # noqa: ANN401  (any network, as it came)
        layout = torch.channels_last if self.case.channels_last else torch.contiguous_format
        return net.to(self.fabric.device).to(memory_format=layout)

    def _pictures(self, side: int) -> Tensor:
        pictures = torch.randn(self.case.batch_size, 3, side, side, device=self.fabric.device)
        return pictures.to(memory_format=torch.channels_last) if self.case.channels_last else pictures


def _count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


class _Stopwatch:
    """Adds up the seconds spent inside the modules that it was put around."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.seconds, self._wait, self._started = 0.0, wait, 0.0

    def __enter__(self) -> None:
        self._wait()
        self._started = time.perf_counter()

    def __exit__(self, *details: object) -> None:
        self._wait()
        self.seconds += time.perf_counter() - self._started

    def around(self, module: nn.Module) -> nn.Module:
        return _Timed(module, self)


class _Timed(nn.Module):
    """A module whose forward is timed; everything else is the module's own."""

    def __init__(self, module: nn.Module, watch: _Stopwatch) -> None:
        super().__init__()
        self.module, self.watch = module, watch
        self.large_head, self.pull_back = module.large_head, module.pull_back

    def forward(self, views: Tensor) -> object:
        with self.watch:
            return self.module(views)


class _Peak:
    """Bytes that are held now, and the most that were."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def add(self, size: int) -> None:
        self.now += size
        self.peak = max(self.peak, self.now)


@contextlib.contextmanager
def waiting_bytes() -> Iterator[_Peak]:
    """Counts the bytes of the tensors that autograd keeps for a backward, each storage once; parameters excepted."""
    peak = _Peak()
    held: dict[int, int] = {}

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    def release(address: int, size: int) -> None:
        held[address] -= 1
        if not held[address]:
            peak.add(-size)

    def pack(tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        is_parameter = isinstance(tensor, nn.Parameter) or isinstance(tensor._base, nn.Parameter)
        if not is_parameter:
            storage = tensor.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes()
            held[address] = held.get(address, 0) + 1
            if held[address] == 1:
                peak.add(size)
            weakref.finalize(kept, release, address, size)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        yield peak
