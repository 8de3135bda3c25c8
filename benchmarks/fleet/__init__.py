"""A fleet of our own making against `dimwatch replay`: labelled faults, quiet weeks, and what came of them.

It shares nothing with `dimwatch.simulate`, so that finding faults here says something of fleets that nobody has seen.
"""
