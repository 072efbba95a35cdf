"""Tables as pandas data frames. pandas is imported when one is asked for: it is an extra."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mge.errors import MissingExtraError
from mge.notebook.html import html_table

if TYPE_CHECKING:
    from pandas import DataFrame


class Rows(list[dict[str, Any]]):
    """A list of rows that becomes a data frame on request."""

    def to_frame(self) -> "DataFrame":
        """Return the rows as a pandas data frame; what a row does not have is NaN.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        return make_frame(self)

    def _repr_html_(self) -> str:
        return html_table(self)


def make_frame(rows: Iterable[Mapping[str, Any]], *, index: str | None = None) -> "DataFrame":
    """Return rows as a pandas data frame.

    Args:
        rows: The rows, by column.
        index: The column that becomes the index, if any.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    frame: DataFrame = _pandas().DataFrame(list(rows))
    return frame if index is None or frame.empty else frame.set_index(index)


def make_matrix(
    values: object, *, rows: Sequence[str], columns: Sequence[str], row_name: str, column_name: str | None = None
) -> "DataFrame":
    """Return a matrix of numbers as a pandas data frame with names of its rows and columns.

    Args:
        values: The numbers: an array of one row for each of `rows`.
        rows: Names of the rows.
        columns: Names of the columns.
        row_name: Name of the index.
        column_name: Name of all columns together.

    Raises:
        MissingExtraError: pandas is not installed.
    """
    pandas = _pandas()
    index = pandas.Index(rows, name=row_name)
    frame: DataFrame = pandas.DataFrame(values, index=index, columns=pandas.Index(columns, name=column_name))
    return frame


def _pandas() -> Any:  # noqa: ANN401  (a module)
    try:
        import pandas  # noqa: PLC0415  (an extra, 0.7 s)
    except ImportError as error:
        raise MissingExtraError(
            "data frames need pandas, which is not installed; install it with: pip install 'mge[tables]'"
        ) from error
    return pandas
