"""Schemas of all requests and responses, for the OpenAPI document."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1.001)]
Box = Annotated[
    list[float],
    Field(min_length=4, max_length=4, description="x1, y1, x2, y2 in pixels of the upright photo, end-exclusive"),
]


class Parameters(BaseModel):
    """Query parameters; unknown ones are rejected."""

    model_config = ConfigDict(extra="forbid")

    top: int = Field(5, ge=1, le=1000, description="Number of most likely classes to list.")


class Problem(BaseModel):
    """An error."""

    error: str = Field(description="One line: what is wrong and what is accepted.")


class LikelyClass(BaseModel):
    """A class and its probability."""

    label: str
    probability: Probability


class PredictionResponse(BaseModel):
    """The prediction for one photo. Models may return further fields."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="File name as it was sent; empty if there was none.")
    label: str = Field(description="Most likely class, or `unknown` below the rejection threshold.")
    probability: Probability
    top: list[LikelyClass] = Field(description="Most likely classes, in descending order.")
    expert_labels: list[str] = Field(description="Most likely class of each expert.")
    gate_probs: list[Probability] = Field(description="Gate weight of each expert.")
    boxes_xyxy: list[Box] = Field(description="View of each expert.")
    reason: str = Field("", description="Reason for the label `unknown`; empty otherwise.")


class Unreadable(BaseModel):
    """A photo that could not be read, in a request with readable ones."""

    name: str
    error: str


class PredictionsResponse(BaseModel):
    """One entry per photo, in the order of the request."""

    predictions: list[PredictionResponse | Unreadable]


class ExpertResponse(BaseModel):
    """View, attention and prediction of one expert."""

    label: str = Field(description="Its most likely class.")
    gate_prob: Probability = Field(description="Its gate weight.")
    box_xyxy: Box
    view: str = Field(description="Its view: a square JPEG as a data URL.")
    attention: str = Field(
        description="Attention map of its view: a grayscale PNG with one pixel per cell, as a data URL."
    )


class ExplanationResponse(PredictionResponse):
    """A prediction with its explanation."""

    width: int = Field(description="Width of the upright photo in pixels.")
    height: int
    photo: str = Field(description="The decoded photo, at most 1600 px long: a JPEG as a data URL.")
    experts: list[ExpertResponse]


class Health(BaseModel):
    """The state of the server."""

    status: str


class Model(BaseModel):
    """The served model and its limits."""

    name: str
    version: str = Field(description="Version of MGE.")
    classes: list[str]
    view_px: int = Field(description="Side of the preprocessed photo in pixels.")
    max_bytes: int = Field(description="Maximum size of a request body in bytes.")
    max_photos: int = Field(description="Maximum number of photos in a request to /predict.")
