"""Every plug-in detector, by name."""

from __future__ import annotations

from typing import Final

from detectors.plugins.burn_rate import BurnRate
from detectors.plugins.drift import Adwin, PageHinkley
from detectors.plugins.half_space_trees import HalfSpaceTrees
from detectors.plugins.isolation_forest import IsolationForest
from detectors.plugins.plugin import Plugin

PLUGINS: Final[dict[str, type[Plugin]]] = {
    "adwin": Adwin,
    "burn_rate": BurnRate,
    "half_space_trees": HalfSpaceTrees,
    "isolation_forest": IsolationForest,
    "page_hinkley": PageHinkley,
}
