"""For all tests."""

from __future__ import annotations

import os

from tests.kafka_broker import kafka_broker

__all__ = ["kafka_broker"]

# Roles that a test starts by themselves would all tell their health on the same port: only where a test asks for it.
os.environ.setdefault("DIMWATCH_TELEMETRY__HEALTH_PORT", "0")
