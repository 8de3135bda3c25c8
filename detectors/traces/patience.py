"""How long to wait for the rest of a trace: learned from what each service shows."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dimwatch.clock import NS_PER_SECOND
from dimwatch.settings import Assembly

Codes = npt.NDArray[np.int64]

_GAP_FACTOR: Final = 3.0
"""How many times the longest recent gap a service's traces may pause before they count as over."""
_GAP_DECAY: Final = 0.998
_ROOTLESS_WEIGHT: Final = 0.2
_ROOTLESS: Final = 0.6
"""From this share of traces without a root on, a service is one whose roots live elsewhere: nobody waits for them."""
_MAX_SERVICES: Final = 10_000


class Patience:
    """Waits by service. A service is a small number that `code` gives."""

    def __init__(self, settings: Assembly) -> None:
        self.linger_ns: Final = int(settings.linger_s * NS_PER_SECOND)
        self.idle_ns: Final = int(settings.idle_s * NS_PER_SECOND)
        self._longest_ns = int(settings.max_idle_s * NS_PER_SECOND)
        self._code_of: dict[str, int] = {}
        self._gap_ns = np.zeros(64)
        self._rootless = np.zeros(64)

    def codes(self, services: list[str]) -> Codes:
        """Numbers of services. Beyond a bound, new services share one."""
        return np.array([self._code(service) for service in services], dtype=np.int64)

    def _code(self, service: str) -> int:
        code = self._code_of.get(service)
        if code is None:
            code = self._code_of[service] = min(len(self._code_of), _MAX_SERVICES)
            if code >= len(self._gap_ns):
                self._gap_ns = np.append(self._gap_ns, np.zeros(len(self._gap_ns)))
                self._rootless = np.append(self._rootless, np.zeros(len(self._rootless)))
            if len(self._code_of) > _MAX_SERVICES + 1:
                del self._code_of[service]
        return code

    def waits_ns(self, codes: Codes, gaps_ns: Codes) -> Codes:
        """By row: how long to wait while the root is missing. `gaps_ns` are the pauses just seen, and are learned."""
        seen = np.unique(codes)
        self._gap_ns[seen] *= _GAP_DECAY
        np.maximum.at(self._gap_ns, codes, np.minimum(gaps_ns, self._longest_ns).astype(np.float64))
        base = np.where(self._rootless[codes] >= _ROOTLESS, self.linger_ns, self.idle_ns)
        waits: Codes = np.clip(_GAP_FACTOR * self._gap_ns[codes], base, self._longest_ns).astype(np.int64)
        return waits

    def learn_roots(self, codes: Codes, rooted: npt.NDArray[np.bool_]) -> None:
        """Traces of these services have come to their end, with a root or without."""
        for code in np.unique(codes).tolist():
            share = 1.0 - float(rooted[codes == code].mean())
            self._rootless[code] += _ROOTLESS_WEIGHT * (share - self._rootless[code])

    def state(self) -> dict[str, tuple[float, float]]:
        """What has been learned, by service: longest gap in ns, share of traces without a root."""
        return {
            service: (float(self._gap_ns[code]), float(self._rootless[code])) for service, code in self._code_of.items()
        }

    def restore(self, state: dict[str, tuple[float, float]]) -> None:
        """Take up what had been learned."""
        for service, (gap_ns, rootless) in state.items():
            code = self._code(service)
            self._gap_ns[code], self._rootless[code] = gap_ns, rootless
