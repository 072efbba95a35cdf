"""The shape of every answer and of what is asked for, for the OpenAPI document."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1.001)]
Box = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the upright photo, end-exclusive"),
]


class Parameters(BaseModel):
    """What may stand behind a question mark; anything else is a mistake that is said."""

    model_config = ConfigDict(extra="forbid")

    top: int = Field(5, ge=1, le=1000, description="How many of the likeliest classes are listed.")


class Problem(BaseModel):
    """Why there is no answer."""

    error: str = Field(description="One line for a person.")


class LikelyClass(BaseModel):
    """A class and its probability."""

    label: str
    probability: Probability


class PredictionResponse(BaseModel):
    """What the mixture says about a photo. Models may say more than is listed."""

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


class PredictionsResponse(BaseModel):
    """One entry a photo, in the order in which they were sent."""

    predictions: list[PredictionResponse | Unreadable]


class ExpertResponse(BaseModel):
    """What one expert saw and said."""

    label: str = Field(description="The class that it holds for likeliest.")
    gate_prob: Probability = Field(description="How much it counted.")
    box_xyxy: Box
    view: str = Field(description="What it saw: a square JPEG as a data URL.")
    attention: str = Field(description="Where it looked in its view: a grey PNG of one pixel a cell, as a data URL.")


class ExplanationResponse(PredictionResponse):
    """A prediction, and what led to it."""

    width: int = Field(description="Of the upright photo in pixels.")
    height: int
    photo: str = Field(description="The photo as it was understood, at most 1600 px long: a JPEG as a data URL.")
    experts: list[ExpertResponse]


class Health(BaseModel):
    """The process is alive."""

    status: str


class Model(BaseModel):
    """What is being served, and what it takes."""

    name: str
    version: str = Field(description="Of MGE.")
    classes: list[str]
    view_px: int = Field(description="Side in pixels of what a photo is prepared to.")
    max_bytes: int = Field(description="Of the body of a request.")
    max_photos: int = Field(description="In a request to /predict.")
