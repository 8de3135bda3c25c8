"""Incidents to people: who is told what and when, and what a message looks like. No clock, no network, no eventlog."""
