"""Results of `mge evaluate` and `mge compare` in Python: dictionaries of metrics, with data frames of their details."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mge.evaluation.evaluation import Evaluation
from mge.evaluation.metrics import confusion_matrix
from mge.notebook.frames import Rows, make_frame, make_matrix
from mge.notebook.html import html_card, html_table, text_card
from mge.report.evaluation_report import class_rows, judge, photo_rows

if TYPE_CHECKING:
    from pandas import DataFrame

PHOTO_COLUMNS = {"answer": "predicted", "is_right": "is_correct"}  # names in photos.csv → the field's terms
TITLES = {
    "mixture_top1": "accuracy", "mixture_top5": "top-5 accuracy", "balanced_top1": "balanced accuracy",
    "macro_f1": "macro-F1", "chance_top1": "chance level",
}  # fmt: skip


class EvaluationResult(dict[str, Any]):
    """Metrics of an evaluation by name, as in its JSON file, with data frames of its photos and classes.

    Args:
        evaluation: The evaluation.
    """

    def __init__(self, evaluation: Evaluation) -> None:
        super().__init__(evaluation.figures)
        verdicts = judge(evaluation)
        self.class_names = evaluation.classifier.class_names
        confusion = confusion_matrix(evaluation.answers.labels, verdicts.predicted, num_classes=len(self.class_names))
        self._confusion, self._probs = confusion.numpy(), verdicts.probs.numpy()
        self._classes = Rows(row._asdict() for row in class_rows(confusion, self.class_names))
        self._photos = Rows(
            {PHOTO_COLUMNS.get(name, name): bool(value) if name in ("is_right", "label_looks_wrong") else value
             for name, value in row.items()}
            for row in photo_rows(verdicts)
        )  # fmt: skip

    @property
    def predictions(self) -> "DataFrame":
        """A row for each photo: path, label, predicted, probability, is_correct, expert_0, gate_0 and so on."""
        return make_frame(self._photos)

    @property
    def probabilities(self) -> "DataFrame":
        """The probability of every class: a row for each photo, a column for each class."""
        paths = [row["path"] for row in self._photos]
        return make_matrix(self._probs, rows=paths, columns=self.class_names, row_name="path")

    @property
    def per_class(self) -> "DataFrame":
        """Photos, recall, precision and F1 of each class in percent, the lowest F1 first; NaN where undefined."""
        frame = make_frame(self._classes, index="name")
        return frame.astype({name: float for name in ("recall", "precision", "f1")})

    @property
    def confusion(self) -> "DataFrame":
        """The confusion matrix: a row for each true class, a column for each predicted one."""
        names = self.class_names
        return make_matrix(self._confusion, rows=names, columns=names, row_name="label", column_name="predicted")

    def __repr__(self) -> str:
        return text_card(self._title(), self._facts())

    def _repr_html_(self) -> str:
        return html_card(self._title(), self._facts(), html_table(self._classes))

    def _title(self) -> str:
        return str(self.get("headline", f"Evaluation on {self['num_photos']:,} {self['split']} photos"))

    def _facts(self) -> dict[str, str]:
        facts = {title: f"{self[name]:.1f} %" for name, title in TITLES.items() if name in self}
        return {"photos": f"{self['num_photos']:,} of {self['data']}, split {self['split']}", **facts}


class ComparisonResult(dict[str, Any]):
    """Metrics of a comparison by name, as in its JSON file, with data frames of its runs and their pairs."""

    @property
    def runs(self) -> "DataFrame":
        """A row for each run: accuracy in percent with its 95 % interval, and its cost."""
        return make_frame(map(_with_bounds, self["runs"]), index="name")

    @property
    def pairs(self) -> "DataFrame":
        """A row for each pair of runs: the difference in points with its 95 % interval, and the paired test."""
        return make_frame(map(_with_bounds, self["pairs"]))

    def __repr__(self) -> str:
        return text_card(self._title(), self._facts())

    def _repr_html_(self) -> str:
        tables = (html_table([_with_bounds(row) for row in self[name]]) for name in ("runs", "pairs"))
        return html_card(self._title(), {}, *tables)

    def _title(self) -> str:
        return f"Comparison on {self['num_photos']:,} {self['split']} photos of {self['data']}"

    def _facts(self) -> dict[str, str]:
        return {
            row["name"]: "{top1:.1f} % ({low:.1f} to {high:.1f})".format(**_with_bounds(row)) for row in self["runs"]
        }


def _with_bounds(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the ends of its interval as two columns."""
    plain = {name: value for name, value in row.items() if name != "interval"}
    low, high = row["interval"]
    return {**plain, "low": low, "high": high}
