"""For all tests."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.kafka_broker import kafka_broker

__all__ = ["kafka_broker"]

# Roles that a test starts by themselves would all tell their health on the same port: only where a test asks for it.
os.environ.setdefault("DIMWATCH_TELEMETRY__HEALTH_PORT", "0")

# The machine may be busy.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
