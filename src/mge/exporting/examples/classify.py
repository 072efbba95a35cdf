"""Classification of photos with model.onnx: python classify.py photo.jpg ... Needs numpy, Pillow and onnxruntime."""

import json
import sys
from pathlib import Path

import numpy
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).parent
description = json.loads((HERE / "preprocessing.json").read_text(encoding="utf-8"))
side, resized_side = description["input"]["side"], description["input"]["resized_side"]
session = onnxruntime.InferenceSession(str(HERE / "model.onnx"))

for file in sys.argv[1:]:
    photo = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    lengths = (1, 1) if description["input"]["resize"] == "squash" else photo.size
    width, height = (max(resized_side, round(resized_side * length / min(lengths))) for length in lengths)
    photo = photo.resize((width, height), Image.Resampling[description["input"]["interpolation"].upper()])
    left, top = (width - side) // 2, (height - side) // 2
    pixels = numpy.asarray(photo.crop((left, top, left + side, top + side)), dtype=numpy.uint8).transpose(2, 0, 1)
    (probabilities,) = session.run(["probabilities"], {"images": pixels[None]})
    best = int(probabilities[0].argmax())
    sys.stdout.write(f"{file}: {description['class_names'][best]} {100 * probabilities[0][best]:.1f} %\n")
