"""The change ledger: what agents run on, since when, and what became of their signals."""
