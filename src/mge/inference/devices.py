"""Devices, processes and precision of a run."""

import datetime
import os

import torch
from lightning_fabric import Fabric
from torch import distributed

from mge.config import TrainConfig
from mge.errors import ConfigError
from mge.inference.compiled import multiplies_bfloat16

# While photos are scanned, read and evaluated, processes may wait for each other for hours (2.7 million photos).
# In training steps they must not; see `ProcessGroupGuard`.
PREPARATION = datetime.timedelta(hours=24)


def choose_precision(precision: str, *, accelerator: str) -> str:
    """Return Lightning Fabric's name of a precision; `auto` is bfloat16 where the accelerator supports it natively."""
    if precision == "auto":
        device = "cuda" if accelerator in ("auto", "cuda") and torch.cuda.is_available() else "cpu"
        precision = "bfloat16" if multiplies_bfloat16(device) else "float32"
    return {"bfloat16": "bf16-mixed", "float32": "32-true"}[precision]


def build_fabric(config: TrainConfig) -> Fabric:
    """Launch Lightning Fabric for the devices and the precision of a configuration.

    Under torchrun, the number of processes is torchrun's.

    Raises:
        ConfigError: this machine has no such devices, or the number of processes differs from the options.
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
            f"--accelerator {config.accelerator} with --devices {devices} and --nodes {nodes} is not available: "
            f"{reason}; available on this machine: {_available()}"
        ) from error
    if distributed.is_available() and distributed.is_initialized():
        distributed.set_timeout(PREPARATION)
    return fabric


def count_of_torchrun() -> tuple[str, int] | None:
    """Return the devices per machine and the number of machines if torchrun started this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    local, world = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return str(local), world // local


def one_device(accelerator: str, *, precision: str = "32-true") -> Fabric:
    """Set up Lightning Fabric on one device, for evaluation.

    Args:
        accelerator: Lightning Fabric's name of the accelerator.
        precision: Lightning Fabric's name of the precision, from `choose_precision`.

    Raises:
        ConfigError: this machine has no such device.
    """
    try:
        return Fabric(accelerator=accelerator, devices=1, precision=precision)  # type: ignore[arg-type]
    except (ValueError, RuntimeError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"accelerator is {accelerator!r}, which is not available: {reason}; available on this machine: "
            f"{_available()}"
        ) from error


def _available() -> str:
    """Return the accelerators of this machine, in words."""
    gpus = torch.cuda.device_count()
    cuda = [f"cuda ({gpus} device{'s' * (gpus != 1)})"] if gpus else []
    return ", ".join(["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])])


def check_shares(config: TrainConfig, *, world: int) -> None:
    """Raise ConfigError if a batch cannot be split evenly: a mean of means would be another loss."""
    if config.batch_size == "auto" or config.batch_size % world == 0:
        return
    near = max(world, config.batch_size // world * world)
    raise ConfigError(
        f"batch_size is {config.batch_size} (over all processes), but there are {world} processes; accepted: a "
        f"multiple of {world}, such as {near}"
    )


def synchronizes_batch_norm(config: TrainConfig, fabric: Fabric) -> bool:
    """Return whether batch norm uses the statistics of all processes.

    Raises:
        ConfigError: it is requested on a device that does not support it.
    """
    has_gpus = fabric.device.type == "cuda"
    if config.batch_norm == "synced" and not has_gpus:
        raise ConfigError(
            f"batch_norm is synced, which needs GPUs, but the device is {fabric.device.type}; accepted: local, frozen"
        )
    return fabric.world_size > 1 and has_gpus and config.batch_norm in ("auto", "synced")
