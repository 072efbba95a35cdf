"""What is answered, without a socket: the application is called directly."""

import base64
import dataclasses
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mge.inference.prediction import Answer, Photo, Prediction
from mge.serving.app import create_app
from mge.serving.limits import Limits
from tests.image_files import chunk, jpeg
from tests.odd_photos import READABLE, REFUSED, orientation_note
from tests.serving.backends import CLASSES, Colors, Prepared, expected
from tests.serving.running import picture

RED, BLUE = picture(220, 30, 40), picture(10, 20, 200)
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with TestClient(create_app(Colors(), limits=Limits(max_bytes=2_000_000, max_photos=4))) as client:
        yield client


def answer_of(client: TestClient, photo: bytes, path: str = "/predict?top=3") -> dict[str, Any]:
    response = client.post(path, content=photo, headers=PNG)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def as_picture(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2])))


def test_the_body_may_be_a_photo(client: TestClient) -> None:
    (answer,) = answer_of(client, RED)["predictions"]
    said = {entry["label"]: entry["probability"] for entry in answer["top"]}
    assert said == pytest.approx(dict(zip(CLASSES, expected(RED), strict=True)))
    assert (answer["label"], answer["name"]) == ("red", "")
    assert answer["gate_probs"] == [0.75, 0.25]
    assert answer["boxes_xyxy"] == [[0, 0, 60, 40], [30, 0, 60, 40]]


def test_a_form_may_hold_several_photos_and_they_are_answered_in_their_order(client: TestClient) -> None:
    files = [("photos", ("ü 1.png", BLUE)), ("photos", ("2.png", RED)), ("photos", ("3.png", BLUE))]
    answers = client.post("/predict", files=files).json()["predictions"]
    assert [(answer["name"], answer["label"]) for answer in answers] == [
        ("ü 1.png", "blue"), ("2.png", "red"), ("3.png", "blue"),
    ]  # fmt: skip


def test_as_many_classes_are_listed_as_were_asked_for(client: TestClient) -> None:
    assert [len(answer_of(client, RED, f"/predict?top={k}")["predictions"][0]["top"]) for k in (1, 2, 9)] == [1, 2, 3]


def test_a_bad_photo_does_not_harm_the_others(client: TestClient) -> None:
    files = [("photos", ("a.png", RED)), ("photos", ("b.png", b"hello"))]
    response = client.post("/predict", files=files)
    good, bad = response.json()["predictions"]
    assert response.status_code == 200
    assert good["label"] == "red"
    assert bad == {"name": "b.png", "error": bad["error"]}
    assert bad["error"].startswith("b.png is not a photo that can be read: it is text")


def test_what_a_later_version_says_of_a_photo_comes_through() -> None:
    @dataclasses.dataclass(frozen=True)
    class Longer(Prediction):
        is_unknown: bool = True

    class Doubtful(Colors):
        def answer(self, prepared: list[Prepared]) -> list[Answer]:
            said = super().answer(prepared)[0]
            return [Answer(Longer(**vars(said.prediction)), said.attention)] * len(prepared)

    with TestClient(create_app(Doubtful())) as client:
        assert answer_of(client, RED)["predictions"][0]["is_unknown"] is True


def test_an_explanation_shows_what_each_expert_saw_and_where_it_looked(client: TestClient) -> None:
    photo = np.zeros((40, 60, 3), np.uint8)
    photo[:, 30:] = (250, 0, 0)
    answer = answer_of(client, jpeg(photo), "/explain")
    assert (answer["width"], answer["height"], answer["label"]) == (60, 40, "red")
    shown = np.asarray(as_picture(answer["photo"]), dtype=float)
    assert np.abs(shown - photo).mean() < 6
    whole, right = (np.asarray(as_picture(expert["view"]), dtype=float) for expert in answer["experts"])
    assert whole[:, :100].mean() < 10
    assert right[..., 0].mean() > 240
    maps = [np.asarray(as_picture(expert["attention"])) for expert in answer["experts"]]
    assert [np.argwhere(values).tolist() for values in maps] == [[[1, 2]], [[3, 0]]]
    assert [values.max() for values in maps] == [255, 255]


def test_boxes_are_those_of_the_upright_photo(client: TestClient) -> None:
    answer = answer_of(client, jpeg(np.zeros((40, 60, 3), np.uint8), exif=orientation_note(6)), "/explain")
    assert (answer["width"], answer["height"]) == (40, 60)
    assert as_picture(answer["photo"]).size == (40, 60)
    assert answer["experts"][1]["box_xyxy"] == [20, 0, 40, 60]


def test_a_large_photo_is_shown_smaller_and_boxes_stay_in_its_own_pixels(client: TestClient) -> None:
    answer = answer_of(client, picture(1, 2, 3, size=(3200, 400)), "/explain")
    assert as_picture(answer["photo"]).size == (1600, 200)
    assert answer["experts"][1]["box_xyxy"] == [1600, 0, 3200, 400]


FORM = "multipart/form-data; boundary=x"


def part(field: str, content: bytes = RED, *, file: str = '; filename="a"') -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{field}"{file}\r\n\r\n'.encode() + content + b"\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("status", "body", "kind", "reason"),
    [
        (413, bytes(2_000_001), "image/png", "the body is too large; accepted: up to 2 MB"),
        (413, part("photos").removesuffix(b"--x--\r\n") * 5 + b"--x--", FORM, "more than 4 photos"),
        (415, b"{}", "application/json", "Content-Type is 'application/json'; accepted: a photo as the body"),
        (415, RED, "", "accepted: a photo as the body"),
        (415, RED, "application/x-www-form-urlencoded", "accepted: a photo as the body"),
        (422, RED, "multipart/form-data", "names no boundary"),
        (422, RED, FORM, "the form is damaged"),
        (422, b"--x--\r\n", FORM, "the form has no file"),
        (422, part("photo"), FORM, "the form has a field 'photo'; .* files named photos"),
        (422, part("photos", file=""), FORM, "photos is text and no file"),
        (422, b"", "image/png", "the uploaded photo is not a photo that can be read: it is an empty file"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_a_wrong_request_is_told_what_is_wrong_in_one_line(
    client: TestClient, path: str, status: int, body: bytes, kind: str, reason: str
) -> None:
    if path == "/explain":
        reason = reason.replace("more than 4", "more than 1")
    response = client.post(path, content=body, headers={"Content-Type": kind} if kind else {})
    assert response.status_code == status
    (error,) = response.json().values()
    assert "\n" not in error
    assert re.search(reason, error), error


def test_a_compressed_body_is_refused(client: TestClient) -> None:
    response = client.post("/predict", content=RED, headers={**PNG, "Content-Encoding": "gzip"})
    assert (response.status_code, response.json()["error"][:22]) == (415, "the body is compressed")


@pytest.mark.parametrize("top", ["0", "1001", "many", "-1", "1e3", "٣"])
def test_a_wrong_parameter_is_named(client: TestClient, top: str) -> None:
    response = client.post(f"/predict?top={top}", content=RED, headers=PNG)
    assert response.status_code == 422 or top == "٣"
    assert response.status_code < 500
    if response.status_code == 422:
        assert response.json()["error"].startswith("top: ")


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_a_misspelt_parameter_is_not_passed_over(client: TestClient, path: str) -> None:
    response = client.post(f"{path}?tpo=3", content=RED, headers=PNG)
    assert response.status_code == 422
    assert response.json()["error"].startswith("tpo: ")


def test_balancers_may_ask_for_the_head_alone(client: TestClient) -> None:
    for path in ("/health", "/ready"):
        response = client.head(path)
        assert (response.status_code, response.headers["content-type"]) == (200, "application/json")


def test_who_asks_for_what_is_not_there_is_told_so(client: TestClient) -> None:
    assert client.get("/nothing").json() == {"error": "GET /nothing: Not Found; /openapi.json says what there is"}
    response = client.get("/predict")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_the_key_is_asked_for_where_there_is_one() -> None:
    with TestClient(create_app(Colors(), api_key="open sesame")) as client:
        for path in ("/predict", "/explain"):
            assert client.post(path, content=RED, headers=PNG).status_code == 401
            for headers in ({"X-API-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "open"}):
                assert client.post(path, content=RED, headers={**PNG, **headers}).status_code == 401
            for headers in (
                {"X-API-Key": "open sesame"}, {"Authorization": "Bearer open sesame"},
                {"Authorization": "bearer open sesame"},
            ):  # fmt: skip
                assert client.post(path, content=RED, headers={**PNG, **headers}).status_code == 200
        assert client.get("/metrics").status_code == 401
        assert [client.get(path).status_code for path in ("/", "/health", "/ready", "/model")] == [200] * 4
        assert "APIKeyHeader" in json.dumps(client.get("/openapi.json").json()["paths"]["/predict"])


@pytest.mark.parametrize("limits", [Limits(queue=2), Limits(per_client=2)])
def test_more_photos_than_there_is_ever_room_for_are_too_many_and_nobody_is_told_to_wait(limits: Limits) -> None:
    with TestClient(create_app(Colors(), limits=limits)) as client:
        assert client.get("/model").json()["max_photos"] == 2
        response = client.post("/predict", files=[("photos", ("a.png", RED))] * 3)
        assert response.status_code == 413
        assert "more than 2 photos" in response.json()["error"]


def test_a_bug_is_answered_without_its_inside_counted_and_sent_with_every_header() -> None:
    class Buggy(Colors):
        def prepare(self, photo: Photo) -> Prepared:
            if isinstance(photo, Image.Image) and photo.size != (64, 64):  # it works when it is looked at first
                raise LookupError("a secret")
            return super().prepare(photo)

    with TestClient(create_app(Buggy()), raise_server_exceptions=False) as client:
        response = client.post("/predict", content=RED, headers=PNG)
        assert (response.status_code, response.json()["error"][:27]) == (500, "the server made a mistake; ")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert '\nmge_requests_total{path="/predict",status="500"} 1.0\n' in client.get("/metrics").text


def test_a_mistake_with_one_photo_does_not_harm_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(Colors):
        def prepare(self, photo: Photo) -> Prepared:
            if isinstance(photo, Image.Image) and photo.size == (7, 7):
                raise LookupError("a secret")
            return super().prepare(photo)

    files = [("photos", ("a.png", RED)), ("photos", ("b.png", picture(9, 9, 9, size=(7, 7))))]
    with TestClient(create_app(Buggy())) as client:
        response = client.post("/predict", files=files)
    good, bad = response.json()["predictions"]
    assert (response.status_code, good["label"]) == (200, "red")
    assert bad == {"name": "b.png", "error": "the server made a mistake; its log says which"}
    assert "a secret" in caplog.text


@pytest.mark.parametrize("name", [b"transparency", b"interlace", b"exif", b"dpi", b"icc_profile"])
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_notes_of_an_upload_are_no_options_of_the_server(client: TestClient, path: str, name: bytes) -> None:
    noted = RED[:33] + chunk(b"tEXt", name + b"\0(1, 2") + RED[33:-12] + chunk(b"tEXt", name + b"\0x") + RED[-12:]
    plain, said = (client.post(path, content=photo, headers=PNG) for photo in (RED, noted))
    assert (said.status_code, said.json()) == (200, plain.json())


def test_figures_count_what_happened() -> None:
    with TestClient(create_app(Colors())) as client:
        client.post("/predict", content=RED, headers=PNG)
        client.post("/predict", content=b"hello", headers=PNG)
        client.get("/nothing")
        text = client.get("/metrics").text
    for line in (
        'mge_requests_total{path="/predict",status="200"} 1.0',
        'mge_requests_total{path="/predict",status="422"} 1.0',
        'mge_requests_total{path="other",status="404"} 1.0',
        "mge_unreadable_photos_total 1.0",
        "mge_batch_photos_count 2.0",  # one before anyone asked, to see whether the mixture works
        "mge_photos 0.0",
    ):
        assert f"\n{line}\n" in text, line


def test_a_server_whose_mixture_does_not_work_is_not_ready_until_it_does() -> None:
    backend = Colors()
    with TestClient(create_app(backend)) as client:
        assert client.get("/ready").status_code == 200
        backend.poison = -1
        answers = [client.post("/predict", content=RED, headers=PNG) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [500] * 3
        assert answers[0].json() == {"error": "the mixture failed on this photo"}
        assert client.get("/ready").status_code == 503
        assert client.get("/health").status_code == 200
        backend.poison = 1000
        assert client.get("/ready").status_code == 200


def test_a_mixture_that_does_not_work_is_found_out_at_the_start() -> None:
    with pytest.raises(Exception, match="failed on this photo"), TestClient(create_app(Colors(poison=-1))):
        pass


def test_the_page_and_its_files_are_served_and_ask_nobody_else(client: TestClient) -> None:
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript"),
                       ("/icon.svg", "image/svg+xml")):  # fmt: skip
        response = client.get(path)
        assert response.headers["content-type"].startswith(kind)
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "http" not in response.text.replace("http://www.w3.org/2000/svg", "")


def test_the_document_describes_every_route_and_every_refusal(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {"/predict", "/explain", "/health", "/ready", "/metrics", "/model"}
    predict = document["paths"]["/predict"]["post"]
    assert set(predict["responses"]) == {
        "200", "400", "401", "408", "413", "415", "421", "422", "429", "500", "503", "504"
    }  # fmt: skip
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "image/*", "application/octet-stream"}
    assert all(operation["description"] for path in document["paths"].values() for operation in path.values())


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_odd_photos_are_answered_or_refused_and_never_an_error_of_the_server(client: TestClient, path: str) -> None:
    for name, make in {**READABLE, **REFUSED}.items():
        photo = make()
        response = client.post(path, content=photo.content, headers=PNG)
        assert response.status_code == (422 if name in REFUSED else 200), name
        if name in REFUSED:
            assert re.search(photo.refusal, response.json()["error"]), name


def test_the_server_needs_no_torch() -> None:
    script = (
        "import sys, mge.serving.server, mge.serving.app\n"
        "heavy = {'torch', 'torchvision', 'timm', 'lightning_fabric', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
