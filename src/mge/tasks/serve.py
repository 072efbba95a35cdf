"""`mge serve`: an HTTP server for a trained mixture, with a web page."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from mge.config import check_choice, check_range, check_whole
from mge.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from mge.serving.backend import Backend

Engine = Literal["auto", "onnx", "torch"]

MAX_THREADS = 1024  # so many more than there are cores that the system might not give them


def serve(
    model: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    backend: Engine = "auto",
    allow_host: str = "",
    api_key: str | None = None,
    threads: int | None = None,
    batch_size: int = 8,
    queue: int = 64,
    per_client: int = 0,
    max_mb: float = 20.0,
    max_photos: int = 16,
    deadline: float = 30.0,
) -> None:
    """Serve a mixture over HTTP, with a web page at /.

    Runs until Ctrl-C or SIGTERM, then finishes the requests in flight. A second signal stops immediately.

    Examples:
        mge serve runs/birds
        mge serve runs/birds/export/onnx/model.onnx --host 0.0.0.0 --port 80

    Args:
        model: .onnx file of mge export, run folder or model folder.
        host: Address to listen on. 0.0.0.0 listens on all interfaces of this machine: set a key then.
        port: Port to listen on; 0 picks a free port.
        backend: `onnx`: ONNX Runtime, without PyTorch; a folder is exported once, into the cache. `torch`: PyTorch.
            `auto`: `onnx`, or `torch` with a warning if the folder cannot be exported.
        allow_host: Additional host names, separated by commas. Requests with another Host header are rejected (421). On
            127.0.0.1 the names localhost and 127.0.0.1 are allowed; on other addresses any name is, unless this option
            is given. * allows any name.
        api_key: Key that clients must send in the X-API-Key header. Default: $MGE_API_KEY (not visible in process
            listings). No key is required if neither is set.
        threads: Number of compute threads. Default: one per core.
        batch_size: Maximum number of photos per batch, across requests.
        queue: Maximum number of photos in flight; further requests get 503.
        per_client: Maximum number of photos in flight per client address; further requests get 429. 0: no limit.
        max_mb: Maximum request size in megabytes.
        max_photos: Maximum number of photos per request.
        deadline: Request timeout in seconds (504).

    Raises:
        ModelFolderError: there is no complete model at this path.
        ConfigError: an option has an invalid value, or the port is in use.
        MissingExtraError: the packages of the server are not installed.
    """
    check_choice("backend", backend, get_args(Engine))
    port = check_whole("port", port, at_least=0, at_most=65535)
    max_mb = check_range("max_mb", max_mb, at_least=0.001)
    if threads is not None:
        threads = check_whole("threads", threads, at_least=1, at_most=MAX_THREADS)
    key = os.environ.get("MGE_API_KEY", "") if api_key is None else api_key
    if not key.isascii() or not key.isprintable():
        raise ConfigError("the API key has characters that an HTTP header cannot contain; accepted: printable ASCII")
    _need_server()
    from mge.serving.app import create_app  # noqa: PLC0415
    from mge.serving.front import HERE, Hosts  # noqa: PLC0415
    from mge.serving.limits import Limits  # noqa: PLC0415
    from mge.serving.server import build_server, listen  # noqa: PLC0415

    limits = Limits(
        queue=queue, per_client=per_client, batch_size=batch_size, max_bytes=round(max_mb * 1e6),
        max_photos=max_photos, deadline=deadline,
    )  # fmt: skip
    opened = listen(host, port)
    try:
        mixture, engine = _open(Path(model), backend, threads=threads)
        hosts = Hosts.of_server(host, address=opened.getsockname()[0], allowed=allow_host.split(","))
        app = create_app(mixture, limits=limits, api_key=key, name=_name(Path(model)), hosts=hosts)
        where = f"http://{f'[{host}]' if ':' in host else host}:{opened.getsockname()[1]}/"
        line = f"Serving {model} ({len(mixture.class_names)} classes, {engine}) at {where}; stop with Ctrl-C"
        if host not in HERE and not key:
            _say("Note: anyone who can reach this machine can use the server; set a key with MGE_API_KEY")
        build_server(app, limits=limits, on_start=lambda: _say(line)).run(sockets=[opened])
    finally:
        opened.close()


def _need_server() -> None:
    try:
        import fastapi  # noqa: F401, PLC0415  (an extra)
        import prometheus_client  # noqa: F401, PLC0415
        import python_multipart  # noqa: F401, PLC0415
        import uvicorn  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f"the server needs {error.name}, which is not installed; install it with: pip install 'mge[serve]'"
        ) from error


def _open(model: Path, engine: Engine, *, threads: int | None) -> tuple[Backend[Any], Engine]:
    """Load the mixture for inference, and name its runtime.

    Raises:
        ModelFolderError: there is none at this path, or it cannot be exported and PyTorch may not or cannot serve it.
        ConfigError: an .onnx file cannot be run by PyTorch.
        MissingExtraError: ONNX Runtime is not installed, and PyTorch may not or cannot serve it.
    """
    is_file = model.suffix.lower() == ".onnx"
    if engine == "torch":
        if is_file:
            raise ConfigError(f"{model} is run by ONNX Runtime; leave out --backend torch, or give the run folder")
        return _open_network(model, threads=threads), "torch"
    from mge.inference.onnx_classifier import OnnxClassifier  # noqa: PLC0415

    if is_file:
        return OnnxClassifier.load(model, threads=threads), "onnx"
    from mge.serving.export_cache import NotExportedError, find_export  # noqa: PLC0415  (a container does not need it)

    try:
        return OnnxClassifier.load(find_export(model, is_final=engine == "auto"), threads=threads), "onnx"
    except (NotExportedError, MissingExtraError) as error:
        if engine == "onnx" or not find_spec("torch"):
            raise
        _say(f"Warning: {str(error).partition('; ')[0]}; served by PyTorch")
    return _open_network(model, threads=threads), "torch"


def _open_network(model: Path, *, threads: int | None) -> Backend[Any]:
    import torch  # noqa: PLC0415

    from mge.inference.load import load  # noqa: PLC0415

    if threads is not None:
        torch.set_num_threads(threads)
    return load(model, fast=False)


def _name(model: Path) -> str:
    """Return a model's name for users: its run's folder, or the name of its file unless that is generic."""
    inside = ("best", "last", "onnx", "export")  # a run has folders of these names
    is_file = model.suffix.lower() == ".onnx"
    if is_file and model.stem.lower() != "model":
        return model.stem
    folders = [folder.name for folder in (model.resolve(), *model.resolve().parents)][is_file:]
    return next((folder for folder in folders if folder and folder not in inside), "mixture")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
