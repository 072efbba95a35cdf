"""Models on the Hugging Face Hub: `hf:owner/name`, or `hf:owner/name@revision`.

A downloaded model is a model folder like any other: its checksums are checked, and no code in it is run.
"""

import re
from pathlib import Path
from typing import NamedTuple

from mge.errors import ConfigError, ModelFolderError, first_line

PREFIX = "hf:"
FILES = ("model.json", "model.safetensors", "README.md")


class HubName(NamedTuple):
    """A parsed name of a model on the Hub.

    Args:
        repository: Owner and name.
        revision: A branch, a tag or a commit; None: the newest.
    """

    repository: str
    revision: str | None


def is_hub(path: str | Path) -> bool:
    """Return whether this names a model on the Hub."""
    return str(path).startswith(PREFIX)


def check_place(path: str | Path, given: str | Path | None, *, flag: str) -> None:
    """Raise ConfigError if files would be written beside a model that is not a local folder, without another place."""
    if given is None and is_hub(path):
        raise ConfigError(f"run is {str(path)!r}, which is not a local folder to write to; give {flag}")


def read_name(text: str | Path) -> HubName:
    """Parse a name.

    Raises:
        ConfigError: it has another form.
    """
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?:@(\S+))?", str(text))
    if match is None:
        raise ConfigError(f"the model is {str(text)!r}; accepted: hf:owner/name, or hf:owner/name@revision")
    return HubName(match[1], match[2])


def download_model(text: str | Path) -> Path:
    """Return the folder of a model that is downloaded from the Hub, or cached already.

    Raises:
        ModelFolderError: there is none of this name, or it cannot be reached.
        ConfigError: the name is invalid.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415  (takes a while to import)

    name = read_name(text)
    try:
        return Path(snapshot_download(name.repository, revision=name.revision, allow_patterns=list(FILES)))
    except _hub_errors() as error:
        reason = first_line(error).rstrip(".")
        raise ModelFolderError(
            f"{str(text)!r} could not be downloaded: {reason}; check the name on https://huggingface.co; for a private "
            "or gated model log in: hf auth login"
        ) from error


def upload_model(folder: Path, text: str, *, private: bool) -> str:
    """Upload a model folder to the Hub, in one commit.

    Args:
        folder: The folder; it is not checked here.
        text: `hf:owner/name`. The repository is created if it does not exist.
        private: Whether a new repository is private.

    Returns:
        The URL of the model's page.

    Raises:
        ConfigError: the name is invalid, the Hub refuses, or it cannot be reached.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415  (takes a while to import)

    name = read_name(text)
    api = HfApi()
    try:
        page = api.create_repo(name.repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name.repository, folder_path=folder, revision=name.revision, allow_patterns=list(FILES),
            commit_message="Mixture-of-experts classifier, uploaded by mge push",
        )  # fmt: skip
    except _hub_errors() as error:
        reason = first_line(error).rstrip(".")
        raise ConfigError(
            f"{text!r} could not be uploaded: {reason}; log in with a write token: hf auth login"
        ) from error
    return str(page)


def _hub_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that huggingface_hub raises for refusals, network errors and invalid names."""
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415  (takes a while to import)

    client_error = HfHubHTTPError.__bases__[0]  # HTTPError of the client that it uses: httpx, or httpx2
    return (client_error, OSError, ValueError)
