"""Class hierarchies: the parent of each class."""

import graphlib
from collections.abc import Iterable, Mapping, Sequence

from mge.errors import DataError


def collect_parents(pairs: Iterable[tuple[str, str]], *, name: str) -> dict[str, str]:
    """Collect the parent of each class from the pairs given by the photos.

    A class that is its own parent, as `Banana` among groceries, gets none, so that walking up ends.

    Args:
        pairs: A class and its parent, which is empty if a photo has none.
        name: Name of the data in errors.

    Raises:
        DataError: a class has two parents, or the hierarchy has a cycle.
    """
    parents: dict[str, str] = {}
    for label, parent in pairs:
        if parent and parents.setdefault(label, parent) != parent:
            raise DataError(
                f"{name} puts the class {label!r} into two coarser classes, {parents[label]!r} and {parent!r}; a class "
                "has exactly one: correct the column `parent`, or give the class two names"
            )
    parents = {label: parent for label, parent in parents.items() if label != parent}
    try:
        graphlib.TopologicalSorter({label: [parent] for label, parent in parents.items()}).prepare()
    except graphlib.CycleError as error:
        label = min(error.args[1])  # any class of the cycle would do
        raise DataError(
            f"{name} puts the class {label!r} into {parents[label]!r}, which is inside {label!r} itself; correct the "
            "column `parent`"
        ) from error
    return parents


def list_levels(class_names: Sequence[str], parents: Mapping[str, str]) -> list[tuple[str, ...]]:
    """List the ancestor of each class at each level, the coarsest level first, the classes themselves last.

    Levels are counted from the root. A class that is less deep than others represents itself at the levels below it, as
    `Kiwi` does among groceries. Levels at which all classes have one ancestor (`Birds`) are left out: no error is
    possible there.

    Args:
        class_names: The classes.
        parents: The parent of each class, from `collect_parents`.
    """
    chains = []
    for name in class_names:
        chain = [name]
        while chain[-1] in parents:
            chain.append(parents[chain[-1]])
        chains.append(chain[::-1])
    depth = max(map(len, chains))
    levels = [tuple(chain[min(level, len(chain) - 1)] for chain in chains) for level in range(depth)]
    return [level for level in levels if len(set(level)) > 1]
