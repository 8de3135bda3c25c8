"""The entry script of the dashboard: `streamlit run dashboard/app.py`, or `dimwatch dashboard`.

The pages are not in a folder called `pages`: Streamlit would serve what is there by itself, past this script.
"""

from __future__ import annotations

from importlib import resources

import streamlit as st

# A file of our own: Streamlit would load a named icon from the internet.
_ICON = resources.files("dashboard").joinpath("icon.svg").read_text()

st.set_page_config(page_title="Dimwatch", page_icon=_ICON, layout="wide")
st.logo(_ICON, size="large")
st.navigation(
    [
        st.Page("views/now.py", title="Now", icon=":material/monitoring:", default=True),
        st.Page("views/incident.py", title="Incident", icon=":material/emergency_home:", url_path="incident"),
        st.Page("views/trace.py", title="Trace", icon=":material/account_tree:", url_path="trace"),
    ],
    position="top",
).run()
