"""Schemas of all requests and responses, for the OpenAPI document."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1.001)]
Box = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the upright photo, end-exclusive"),
]


class Parameters(BaseModel):
    """Query parameters; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid")

    top: int = Field(5, ge=1, le=1000, description="How many of the likeliest classes are listed.")


class Problem(BaseModel):
    """An error response."""

    error: str = Field(description="One line for a person.")


class LikelyClass(BaseModel):
    """A class and its probability."""

    label: str
    probability: Probability


class Prediction(BaseModel):
    """Prediction for a photo. Models may return additional fields."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="The file's name as it was sent; empty where there was none.")
    label: str = Field(description="The likeliest class, or `unknown` where the model is not sure enough of it.")
    probability: Probability
    top: list[LikelyClass] = Field(description="The likeliest classes, likeliest first.")
    expert_labels: list[str] = Field(description="The class that each expert by itself holds for likeliest.")
    gate_probs: list[Probability] = Field(description="How much each expert counted.")
    boxes_xyxy: list[Box] = Field(description="What each expert saw.")
    reason: str = Field("", description="Why the label is `unknown`; empty where it is a class.")


class Unreadable(BaseModel):
    """A photo that could not be read, among others that could."""

    name: str
    error: str


class Predictions(BaseModel):
    """Predictions in the order of the photos in the request."""

    predictions: list[Prediction | Unreadable]


class Expert(BaseModel):
    """View and prediction of one expert."""

    label: str = Field(description="The class that it holds for likeliest.")
    gate_prob: Probability = Field(description="How much it counted.")
    box_xyxy: Box
    view: str = Field(description="What it saw: a square JPEG as a data URL.")
    attention: str = Field(description="Where it looked in its view: a grey PNG of one pixel a cell, as a data URL.")


class Explanation(Prediction):
    """A prediction with the views and attention maps of the experts."""

    width: int = Field(description="Of the upright photo in pixels.")
    height: int
    photo: str = Field(description="The photo as it was understood, at most 1600 px long: a JPEG as a data URL.")
    experts: list[Expert]


class Health(BaseModel):
    """Status of the process."""

    status: str


class Model(BaseModel):
    """Name, classes and limits of the served model."""

    name: str
    version: str = Field(description="Of MGE.")
    classes: list[str]
    view_px: int = Field(description="Side in pixels of what a photo is prepared to.")
    max_bytes: int = Field(description="Of the body of a request.")
    max_photos: int = Field(description="In a request to /predict.")
