"""What each expert saw on photos of the test split: `python benchmarks/pictures.py RUN DATA [FILE]`.

24 photos, evenly spread over the split: nobody chose them. Each is shown with the boxes of all experts, beside what
these show. Writes one picture, by default docs/pictures/grocery.jpg.
"""

import sys
from pathlib import Path

import mge
from mge.config import DataConfig
from mge.data.photo import open_photo
from mge.data.records import Record, spread_out
from mge.data.sources import read_photos
from mge.report.grid import Strip, draw_contact_sheet
from mge.report.overlays import cut_out, draw_boxes, fit_photo

FILE = Path(__file__).parent.parent / "docs" / "pictures" / "grocery.jpg"
NUM_PHOTOS, SIDE = 24, 150


def main() -> None:
    """Draws the picture."""
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    run, data, file = sys.argv[1], sys.argv[2], Path(sys.argv[3]) if len(sys.argv) == 4 else FILE
    classifier = mge.load(run, fast=False)
    records = read_photos(data, config=DataConfig(cache="no")).split("test")
    strips = [strip(classifier, record) for record in spread_out(records, count=NUM_PHOTOS)]
    title = f"{NUM_PHOTOS} test photos, evenly spread: all boxes, and what experts 1, 2, … saw; answer (truth if other)"
    file.parent.mkdir(parents=True, exist_ok=True)
    draw_contact_sheet(strips, file, side=SIDE, title=title)


def strip(classifier: mge.Classifier, record: Record) -> Strip:
    """A photo with all boxes, and the views of the experts after the first."""
    photo = open_photo(record.content)
    prediction = classifier.predict(photo)
    boxes = [tuple(box) for box in prediction.boxes_xyxy]
    whole = draw_boxes(fit_photo(photo, side=SIDE), boxes, size=photo.size)
    views = [cut_out(photo, box, side=SIDE) for box in boxes[1:]]
    truth = "" if prediction.label == record.label else f" (is {record.label})"
    return Strip(f"{prediction.label} {100 * prediction.probability:.0f} %{truth}", [whole, *views])


if __name__ == "__main__":
    main()
