"""Optional packages that only some data need."""

from mge.errors import MissingExtraError


def need_datasets() -> None:
    """Raise MissingExtraError unless `datasets` is installed, which reads Parquet, Arrow and data sets of the Hub."""
    try:
        from datasets import Dataset  # noqa: F401, PLC0415  (optional; a mere folder called datasets has no Dataset)
    except ImportError as error:
        raise MissingExtraError(
            "Parquet, Arrow and Hugging Face data sets need the package `datasets`, which is not installed; install it "
            "with: pip install 'mge[tables]'"
        ) from error
