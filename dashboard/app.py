"""The entry script of the dashboard: `streamlit run dashboard/app.py`, or `dimwatch dashboard`.

The pages are not in a folder called `pages`: Streamlit would serve what is there by itself, past this script.
"""

from __future__ import annotations

from importlib import resources
from typing import Final

import streamlit as st

from dashboard import sign_in
from dashboard.chosen import carried

# A file of our own: Streamlit would load a named icon from the internet.
_ICON = resources.files("dashboard").joinpath("icon.svg").read_text()
_PAGES: Final = {
    "now": ("Now", "monitoring"),
    "incident": ("Incident", "emergency_home"),
    "trace": ("Traces", "account_tree"),
    "tools": ("Tools", "build"),
    "models": ("Models", "neurology"),
    "agents": ("Agents", "smart_toy"),
    "cost": ("Cost", "payments"),
    "scope": ("Scope", "travel_explore"),
    "coverage": ("Coverage", "visibility"),
    "replay": ("Replay", "replay"),
}

st.set_page_config(page_title="Dimwatch", page_icon=_ICON, layout="wide")
st.logo(_ICON, size="large")
sign_in.required()
_page = st.navigation(
    [
        st.Page(
            f"views/{name}.py",
            title=title,
            icon=f":material/{icon}:",
            url_path=name,
            default=name == "now",
        )
        for name, (title, icon) in _PAGES.items()
    ],
    position="top",
)
if _carried := carried(_page.url_path):
    st.switch_page(_page, query_params=_carried)
_page.run()
