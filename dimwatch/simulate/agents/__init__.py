"""The six agents of the simulated fleet."""

from typing import Final

from dimwatch.simulate.agents.base import Agent
from dimwatch.simulate.agents.claims import CLAIMS
from dimwatch.simulate.agents.coding import CODING
from dimwatch.simulate.agents.research import RESEARCH
from dimwatch.simulate.agents.sales import SALES
from dimwatch.simulate.agents.support import SUPPORT
from dimwatch.simulate.agents.travel import TRAVEL

FLEET: Final[tuple[Agent, ...]] = (SUPPORT, RESEARCH, CODING, SALES, CLAIMS, TRAVEL)
