"""The one place that reads clocks. Cores get time as an argument."""

from __future__ import annotations

import time

# Nanoseconds since 1970: for records and for people. May step.
wall_ns = time.time_ns

# Nanoseconds that never step: for intervals and time-outs.
now_ns = time.monotonic_ns
