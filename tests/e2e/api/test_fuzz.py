"""The API against its own description: whatever is sent, the answer is one that is described, and never a fault."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from dimwatch.app.api.application import bare
from tests.e2e.api.conftest import RESPONDER, Site

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
schema = schemathesis.openapi.from_dict(bare().openapi())


@schema.parametrize()
@settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_described(case: schemathesis.Case[Any], site: Site) -> None:
    case.call_and_validate(base_url=site.url, headers={"Authorization": f"Bearer {RESPONDER}"})
