"""Drawings of beetles, of the demo data set: classes that a coarse view cannot tell apart and a zoom can.

Somewhere in each picture, at any size and angle, on clutter, lies a beetle. Its class is the pattern of the marks on
its wings, their number and the colour of its antenna tips. Everything else varies independently of the class.
"""

import math
import random
from itertools import product
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

PATTERNS = ("spots", "bars", "rings")
COUNTS = (2, 3)  # marks on each wing
TIPS = {"red": (214, 40, 40), "blue": (40, 90, 220)}
BEETLE_CLASSES = tuple(f"{pattern}-{count}-{tip}" for pattern, count, tip in product(PATTERNS, COUNTS, TIPS))
SUPERSAMPLE = 2

Color = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]


class Beetle(NamedTuple):
    """A drawing, and where things are in it: x1, y1, x2, y2 in pixels, end-exclusive."""

    image: Image.Image
    box_xyxy: Box  # all of it, with legs and antennae
    tip_boxes_xyxy: tuple[Box, Box]  # the antenna tips


def draw_beetle(label: int, *, seed: int, side: int = 256) -> Beetle:
    """Draws one beetle.

    Args:
        label: Number of its class in `BEETLE_CLASSES`.
        seed: Decides everything else.
        side: Side of the square picture in pixels.
    """
    chance = random.Random(seed * 1000 + label)
    pattern, count, tip = BEETLE_CLASSES[label].split("-")
    canvas = _Canvas(side, chance)
    _draw_clutter(canvas, amount=chance.randint(14, 24))
    length = side * chance.uniform(0.17, 0.33)
    margin = 0.72 * length
    center = (chance.uniform(margin, side - margin), chance.uniform(margin, side - margin))
    body = _Body(canvas, center=center, length=length, angle=chance.uniform(0, 2 * math.pi))
    box, tips = body.draw(pattern=pattern, count=int(count), tip=TIPS[tip])
    return Beetle(canvas.finish(), box, tips)


class _Canvas:
    """A picture drawn larger than it will be, with its own source of chance."""

    def __init__(self, side: int, chance: random.Random) -> None:
        self.side, self.chance = side, chance
        self.image = _ground(side * SUPERSAMPLE, chance)
        self.pen = ImageDraw.Draw(self.image)

    def polygon(self, points: list[Point], color: Color) -> None:
        self.pen.polygon([(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in points], fill=color)

    def line(self, points: list[Point], color: Color, *, width: float) -> None:
        scaled = [(x * SUPERSAMPLE, y * SUPERSAMPLE) for x, y in points]
        self.pen.line(scaled, fill=color, width=max(1, round(width * SUPERSAMPLE)), joint="curve")

    def finish(self) -> Image.Image:
        """The picture at its size, with light, a little blur and noise."""
        reduced = self.image.reduce(SUPERSAMPLE)
        blurred = reduced.filter(ImageFilter.GaussianBlur(self.chance.uniform(0, 0.6)))
        noise = np.random.default_rng(self.chance.getrandbits(32)).normal(0, 5, (self.side, self.side, 3))
        ramp = np.linspace(self.chance.uniform(0.85, 1.0), self.chance.uniform(1.0, 1.15), self.side)
        lit = np.asarray(blurred, dtype=np.float64) * ramp[:, None, None] * self.chance.uniform(0.85, 1.1) + noise
        return Image.fromarray(lit.clip(0, 255).astype(np.uint8))


class _Body:
    """A beetle's body in its own coordinates: along it from -0.5 (tail) to 0.5 (head) of its length, and across."""

    def __init__(self, canvas: _Canvas, *, center: Point, length: float, angle: float) -> None:
        self.canvas, self.center, self.length = canvas, center, length
        self.cos, self.sin = math.cos(angle), math.sin(angle)

    def at(self, along: float, across: float) -> Point:
        x, y = along * self.length, across * self.length
        return self.center[0] + x * self.cos - y * self.sin, self.center[1] + x * self.sin + y * self.cos

    def oval(self, along: float, across: float, *, size: tuple[float, float], color: Color) -> list[Point]:
        points = [
            self.at(along + size[0] * math.cos(turn), across + size[1] * math.sin(turn))
            for turn in np.linspace(0, 2 * math.pi, 28, endpoint=False)
        ]
        self.canvas.polygon(points, color)
        return points

    def draw(self, *, pattern: str, count: int, tip: Color) -> tuple[Box, tuple[Box, Box]]:
        """Draws legs, antennae, body and marks; returns the beetle's box and those of the tips."""
        chance = self.canvas.chance
        wings = _shade(chance.choice([(150, 110, 50), (70, 110, 60), (120, 70, 50), (90, 90, 110)]), chance)
        dark: Color = (35, 28, 25)
        mark = chance.choice([(245, 235, 200), (250, 215, 90), (235, 235, 240)])
        legs = self._draw_legs(dark)
        tips = self._draw_antennae(dark, tip)
        shell = self.oval(-0.1, 0, size=(0.4, 0.27), color=_darker(wings))
        shell += self.oval(-0.1, 0, size=(0.37, 0.24), color=wings)
        head = self.oval(0.3, 0, size=(0.12, 0.17), color=dark) + self.oval(0.4, 0, size=(0.1, 0.1), color=dark)
        self.canvas.line([self.at(-0.47, 0), self.at(0.22, 0)], dark, width=0.015 * self.length)
        for side in (-1, 1):
            self._draw_marks(pattern, count, side=side, color=mark, ground=wings)
        corners = [corner for box in tips for corner in (box[:2], box[2:])]
        return _around([*shell, *head, *legs, *corners], side=self.canvas.side), tips

    def _draw_marks(self, pattern: str, count: int, *, side: int, color: Color, ground: Color) -> None:
        places = {2: (-0.26, 0.05), 3: (-0.33, -0.11, 0.11)}[count]
        for along in places:
            across = side * 0.115
            if pattern == "bars":
                self.oval(along, across, size=(0.03, 0.085), color=color)
            else:
                self.oval(along, across, size=(0.062, 0.062), color=color)
            if pattern == "rings":
                self.oval(along, across, size=(0.034, 0.034), color=ground)

    def _draw_legs(self, color: Color) -> list[Point]:
        feet = []
        for along in (-0.25, -0.02, 0.2):
            for side in (-1, 1):
                bend = along + self.canvas.chance.uniform(-0.06, 0.06)
                joint, foot = self.at(bend, side * 0.36), self.at(bend * 1.5 - 0.04, side * 0.46)
                self.canvas.line([self.at(along, 0), joint, foot], color, width=0.035 * self.length)
                feet += [joint, foot]
        return feet

    def _draw_antennae(self, color: Color, tip: Color) -> tuple[Box, Box]:
        boxes = []
        for side in (-1, 1):
            spread = side * self.canvas.chance.uniform(0.12, 0.24)
            end = self.canvas.chance.uniform(0.6, 0.68)
            self.canvas.line([self.at(0.44, side * 0.05), self.at(0.54, spread * 0.9), self.at(end, spread)], color,
                             width=0.022 * self.length)  # fmt: skip
            points = self.oval(end, spread, size=(0.075, 0.075), color=tip)
            boxes.append(_around(points, side=self.canvas.side))
        return boxes[0], boxes[1]


def _ground(side: int, chance: random.Random) -> Image.Image:
    """Soil or moss: smooth noise of three sizes around one colour."""
    rng = np.random.default_rng(chance.getrandbits(32))
    base = np.array(chance.choice([(150, 135, 105), (120, 140, 95), (165, 155, 140), (110, 105, 95)]), dtype=np.float64)
    total = np.zeros((side, side, 3)) + base
    for cells, strength in ((4, 22), (16, 16), (64, 12)):
        grain = Image.fromarray(rng.integers(0, 255, (cells, cells)).astype(np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        total += (np.asarray(grain, dtype=np.float64)[:, :, None] / 127.5 - 1) * strength
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def _draw_clutter(canvas: _Canvas, *, amount: int) -> None:
    """Leaves, twigs, pebbles and berries, some in the colours of antenna tips and marks."""
    chance = canvas.chance
    for _ in range(amount):
        x, y = chance.uniform(0, canvas.side), chance.uniform(0, canvas.side)
        turn, size = chance.uniform(0, 2 * math.pi), canvas.side * chance.uniform(0.02, 0.09)
        kind = chance.choice(("leaf", "twig", "pebble", "berry", "seed"))
        thing = _Body(canvas, center=(x, y), length=2 * size, angle=turn)
        if kind == "leaf":
            green = _shade(chance.choice([(90, 130, 60), (150, 130, 60), (110, 90, 50)]), chance)
            thing.oval(0, 0, size=(0.9, 0.35), color=green)
            canvas.line([thing.at(-0.9, 0), thing.at(0.9, 0)], _darker(green), width=1)
        elif kind == "twig":
            canvas.line([thing.at(-1.5, 0), thing.at(0, 0.15), thing.at(1.5, 0)], (80, 62, 45), width=0.1 * size + 1)
        elif kind == "pebble":
            thing.oval(0, 0, size=(0.5, chance.uniform(0.3, 0.5)), color=_shade((150, 148, 145), chance))
        elif kind == "berry":
            color = chance.choice([*TIPS.values(), (245, 235, 200), (250, 215, 90)])
            thing.oval(0, 0, size=(0.12, 0.12), color=color)
        else:
            thing.oval(0, 0, size=(0.35, 0.22), color=_shade((70, 55, 45), chance))


def _shade(color: Color, chance: random.Random) -> Color:
    red, green, blue = (max(0, min(255, value + chance.randint(-18, 18))) for value in color)
    return red, green, blue


def _darker(color: Color) -> Color:
    red, green, blue = (int(0.65 * value) for value in color)
    return red, green, blue


def _around(points: list[Point], *, side: int) -> Box:
    """The box around some points, as far as it lies in the picture."""
    across, down = [min(max(x, 0.0), side) for x, _ in points], [min(max(y, 0.0), side) for _, y in points]
    return min(across), min(down), max(across), max(down)
