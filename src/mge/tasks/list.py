"""`mge list`: names that options accept."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Literal, get_args

from mge.config import PRESETS, check_choice, complete_options
from mge.errors import ConfigError

What = Literal["backbones", "presets", "formats"]


def list(what: What, pattern: str = "*", *, pretrained: bool = True) -> tuple[str, ...]:  # noqa: A001  (the command)
    """List names that options accept: backbones of timm, presets, formats of data.

    Not every backbone is accepted: `mge train` refuses networks without feature maps, such as MLP-Mixer.

    Examples:
        mge list backbones convnext*
        mge list presets

    Args:
        what: `backbones` (for `--backbone`), `presets` (for `--preset`), or `formats` (of data, for `--format`).
        pattern: Names to list, such as `resnet*`.
        pretrained: List backbones with pretrained weights only, with the tag of each; `--no-pretrained` lists every
            architecture.

    Returns:
        The names.

    Raises:
        ConfigError: an option has an invalid value, or no name matches the pattern.
    """
    check_choice("what", what, get_args(What))
    if what == "backbones":
        from mge.models.backbone import list_backbones  # noqa: PLC0415  (imports torch and timm)

        known: Mapping[str, str] = dict.fromkeys(list_backbones(pattern, pretrained=pretrained), "")
    else:
        known = _describe_presets() if what == "presets" else _describe_formats()
        known = {name: text for name, text in known.items() if fnmatch(name, pattern)}
    if not known:
        raise ConfigError(f"pattern is {pattern!r}, which matches no name; accepted: such as 'resnet*'")
    width = max(map(len, known)) + 2
    sys.stdout.writelines(f"{name:<{width}}{text}".rstrip() + "\n" for name, text in known.items())
    return tuple(known)


def _describe_presets() -> dict[str, str]:
    """Return the presets with the values of a few options."""
    described: dict[str, str] = {}
    for name in PRESETS:
        options = complete_options({}, preset=name)
        weights = "shared" if options["share_experts"] else "separate"
        described[name] = (
            "{backbone}, {experts} experts with {weights} weights, {size} px, {epochs} epochs, {schedule} schedule"
        ).format(**{**options, "weights": weights})
    return described


def _describe_formats() -> dict[str, str]:
    """Return the readers of data with what they recognize."""
    from mge.data.sources.layouts import SOURCES  # noqa: PLC0415

    return {name: source.wants for name, source in SOURCES.items()}
