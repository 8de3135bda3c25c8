"""Dimwatch beside what people would run instead, on the same load."""
