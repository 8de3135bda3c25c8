"""What marks the canary's spans, by which Dimwatch watches itself: senders, workers and readers agree on it here."""

from __future__ import annotations

from typing import Final

SERVICE: Final = "dimwatch-canary"
"""Its `service.name`. Nobody else's spans should have it: they would be in no table but `canaries`."""
