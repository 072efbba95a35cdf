"""Requests that schemathesis makes of the OpenAPI document, good ones and bad ones, and what must hold of each answer.

Every answer is one that the document knows, in its shape, and never the server's fault. Bytes that are no photo fit the
document's "binary", so that good requests may well be refused.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import positive_data_acceptance
from schemathesis.config import SchemathesisConfig

from mge.serving.limits import Limits
from tests.serving.backends import Colors
from tests.serving.running import served

pytestmark = pytest.mark.slow

# Too many photos are refused with 413, which schemathesis by itself does not take for a refusal.
CONFIG = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": ["4xx"]}}})
OPERATIONS = ["POST /predict", "POST /explain", "GET /metrics", "GET /health", "GET /ready", "GET /model"]
CASES = [(label, GenerationMode.POSITIVE) for label in OPERATIONS] + [
    (label, GenerationMode.NEGATIVE)
    for label in OPERATIONS[:3]  # the others have nothing that could be wrong
]


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served(Colors(), Limits(body_seconds=2, header_seconds=2), api_key="sesame") as port:
        yield port


@pytest.mark.parametrize(("label", "mode"), CASES)
def test_every_answer_is_one_that_the_document_knows(port: int, label: str, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json", config=CONFIG)
    assert {f"{method.upper()} {path}" for path in document for method in document[path]} == set(OPERATIONS)
    method, _, path = label.partition(" ")

    @given(case=document[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case[Any]) -> None:
        key = {"X-API-Key": "sesame"}
        case.call_and_validate(headers=key, excluded_checks=[positive_data_acceptance], timeout=20)

    ask()
