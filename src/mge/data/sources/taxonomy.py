"""The categories of COCO-like JSON: their names, and the taxa above them."""

from collections.abc import Mapping, Sequence
from typing import Any

from mge.data.labels import NOTHING
from mge.data.sources.archive import distinct_names

RANKS = ("genus", "family", "order", "class", "phylum", "kingdom")

Row = Mapping[str, Any]


def read_id(number: float | str) -> str:
    """Normalise an id for comparison: 7, "7" and 7.0 are the same, as tools write them."""
    return str(int(number)) if isinstance(number, float) and number.is_integer() else str(number)


def name_categories(categories: Sequence[Row]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the name of each category, and its parents: its genus, family and so on, or its supercategory.

    The same name may denote two taxa (Prunella is a genus of birds and one of plants): a taxon is identified by all of
    its ancestors, and the second one of a name gets its parent appended to the name.
    """
    lineages = {read_id(row["id"]): _lineage(row) for row in categories}
    names = distinct_names((read_id(row["id"]), str(row["name"]), f"category {row['id']}") for row in categories)
    taxa = {lineage[start:] for lineage in lineages.values() for start in range(len(lineage))}
    finest_first = sorted(taxa, key=lambda taxon: (-len(taxon), taxon))
    everything: list[tuple[Any, str, str]] = [(key, name, "") for key, name in names.items()]
    everything += [(taxon, taxon[0], (*taxon, "group")[1]) for taxon in finest_first]
    called = distinct_names(everything)
    parents = {names[key]: called[lineage] for key, lineage in lineages.items() if lineage}
    parents |= {called[taxon]: called[taxon[1:]] for taxon in finest_first if len(taxon) > 1}
    return names, parents


def _lineage(category: Row) -> tuple[str, ...]:
    """Return the taxa above a category, the finest first."""
    ranks = tuple(str(category[rank]) for rank in RANKS if category.get(rank))
    above = str(category.get("supercategory") or "")
    return ranks or ((above,) if above and above.title() not in NOTHING else ())  # Roboflow's is "none"
