"""What the tests of training share."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _no_pictures() -> Iterator[None]:
    """Drawing what each expert saw takes as long as the training of a test."""
    from mge.training import run  # not above: jaxtyping's hook comes before the first import of mge

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "draw_best", lambda *_, **__: None)
        yield


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that look at them: they are drawn after all."""
    from mge.training import finish, run

    monkeypatch.setattr(run, "draw_best", finish.draw_best)
