"""Charts as the browser's Vega draws them."""

from __future__ import annotations

import json
from typing import Any

import vl_convert


def svg(spec: dict[str, Any]) -> str:
    """A chart that is as wide as a page."""
    data = {
        name: json.loads(frame.to_json(orient="records", date_format="iso")) for name, frame in spec["datasets"].items()
    }
    return str(vl_convert.vegalite_to_svg({"width": 900, **spec, "datasets": data}))
