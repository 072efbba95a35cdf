"""`mge info`: a model or run in a few lines."""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

from mge.storage.run_folder import Run, find_model_folder, is_run


def info(run: str | Path) -> dict[str, str]:
    """Describe a model or run in a few lines: network, classes, accuracy, fitted parameters.

    Examples:
        mge info runs/birds
        mge info export/onnx/model.onnx

    Args:
        run: Run folder, model folder, file or folder of `mge export`, or hf:owner/name on the Hugging Face Hub.

    Returns:
        The facts by their names.

    Raises:
        ModelFolderError: there is no complete model or run.
    """
    from mge.notebook.html import text_card  # noqa: PLC0415
    from mge.storage.model_facts import list_facts  # noqa: PLC0415

    facts = Run(Path(run)).facts() if is_run(run) else {}
    first = Path(run) / "expert_0.onnx"  # of a cascade
    graph = first if first.is_file() else Path(run)
    if graph.suffix.lower() == ".onnx":
        from mge.storage.export_description import read_sealed  # noqa: PLC0415

        _, exported = read_sealed(graph)
        facts |= list_facts(exported.architecture, exported.class_names, exported.metadata)
    elif not is_run(run) or Run(Path(run)).best.exists():
        from mge.storage.model_folder import load_description  # noqa: PLC0415  (imports torch)

        stored = load_description(find_model_folder(run))
        facts |= {name: value for name, value in list_facts(stored.config, stored.class_names, stored.metadata).items()
                  if name not in facts}  # fmt: skip
    sys.stdout.write(f"{text_card(str(run), facts)}\nNext: mge predict {quote(str(run))} photo.jpg\n")
    return facts
