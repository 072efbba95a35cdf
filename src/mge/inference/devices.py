"""Where a run runs: devices, processes, arithmetic."""

import datetime
import os

import torch
from lightning_fabric import Fabric
from torch import distributed

from mge.config import TrainConfig
from mge.errors import ConfigError
from mge.inference.compiled import multiplies_bfloat16

# While photos are looked at, read and evaluated, processes may wait for each other for long: with 2.7 million photos it
# takes hours. In the steps of training they must not; see `ProcessGroupGuard`.
PREPARATION = datetime.timedelta(hours=24)


def choose_precision(precision: str, *, accelerator: str) -> str:
    """Lightning Fabric's name of a precision; `auto` takes bfloat16 where the accelerator multiplies it natively."""
    if precision == "auto":
        device = "cuda" if accelerator in ("auto", "cuda") and torch.cuda.is_available() else "cpu"
        precision = "bfloat16" if multiplies_bfloat16(device) else "float32"
    return {"bfloat16": "bf16-mixed", "float32": "32-true"}[precision]


def build_fabric(config: TrainConfig) -> Fabric:
    """Lightning Fabric for the devices and the precision of a configuration, launched.

    Where torchrun has started the processes, it has said how many there are.

    Raises:
        ConfigError: this machine has no such devices, or other processes were started than the options say.
    """
    devices, nodes = count_of_torchrun() or (config.devices, config.nodes)
    precision = choose_precision(config.precision, accelerator=config.accelerator)
    try:
        fabric = Fabric(
            accelerator=config.accelerator, devices=devices if devices == "auto" else int(devices), num_nodes=nodes,
            strategy=config.strategy, precision=precision,  # type: ignore[arg-type]
        )  # fmt: skip
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"{devices} devices of the accelerator {config.accelerator!r} on {nodes} machines cannot be had: {reason}; "
            "set --devices, --nodes and --accelerator to what there is"
        ) from error
    if distributed.is_available() and distributed.is_initialized():
        distributed.set_timeout(PREPARATION)
    return fabric


def count_of_torchrun() -> tuple[str, int] | None:
    """The devices of each machine and the number of machines, where torchrun started this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return str(local), world // local


def one_device(accelerator: str, *, precision: str = "32-true") -> Fabric:
    """Lightning Fabric for one device, as whatever only measures uses.

    Args:
        accelerator: Lightning Fabric's name of it.
        precision: Lightning Fabric's name of it, from `choose_precision`.

    Raises:
        ConfigError: this machine has no such device.
    """
    try:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    except (ValueError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"accelerator is {accelerator!r}, which cannot be used: {reason}; set --accelerator to what there is"
        ) from error


def check_shares(config: TrainConfig, *, world: int) -> None:
    """Raises ConfigError where a batch cannot be dealt out evenly: a mean of means would be another loss."""
    if config.batch_size == "auto" or config.batch_size % world == 0:
        return
    near = max(world, config.batch_size // world * world)
    raise ConfigError(
        f"batch_size is {config.batch_size}, over all processes, and there are {world}; accepted: a multiple of "
        f"{world}, such as {near}"
    )


def synchronizes_batch_norm(config: TrainConfig, fabric: Fabric) -> bool:
    """Whether batch norm takes its statistics from the photos of all processes.

    Raises:
        ConfigError: it is asked for where torch cannot do it.
    """
    has_gpus = fabric.device.type == "cuda"
    if config.batch_norm == "synced" and not has_gpus:
        raise ConfigError(
            f"batch_norm is synced, which torch does on GPUs only, and the device is {fabric.device.type}; accepted "
            "here: local, frozen"
        )
    return fabric.world_size > 1 and has_gpus and config.batch_norm in ("auto", "synced")
