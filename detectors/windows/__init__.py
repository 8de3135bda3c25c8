"""Judged traces become points (one signal of one series in one window), and points become closed minutes."""
