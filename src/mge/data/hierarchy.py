"""Coarser classes: which class belongs to which."""

import graphlib
from collections.abc import Iterable, Mapping, Sequence

from mge.errors import DataError


def collect_parents(pairs: Iterable[tuple[str, str]], *, name: str) -> dict[str, str]:
    """The coarser class of each class, out of what each photo says about its own.

    A class that is its own coarser class, as `Banana` among groceries, gets none: whoever walks up arrives at an end.

    Args:
        pairs: A class and its coarser class, which is empty where a photo says nothing.
        name: What an error calls the data.

    Raises:
        DataError: a class has two coarser classes, or classes lie inside each other.
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
        label = min(error.args[1])  # any of the circle would do
        raise DataError(
            f"{name} puts the class {label!r} into {parents[label]!r}, which is inside {label!r} itself; correct the "
            "column `parent`"
        ) from error
    return parents


def list_levels(class_names: Sequence[str], parents: Mapping[str, str]) -> list[tuple[str, ...]]:
    """What each class belongs to at each level of coarser classes, the coarsest first, the classes themselves last.

    Levels are counted from the top. A class that lies less deep than others stands for itself at the levels below it,
    as `Kiwi` does among groceries. Levels at which all belong to one (`Birds`) are left out: nobody errs there.

    Args:
        class_names: The classes.
        parents: The coarser class of each class, as `collect_parents` gives them.
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
