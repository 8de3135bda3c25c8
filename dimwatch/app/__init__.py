"""Composition: the processes that Dimwatch consists of. The only place that knows every stage."""
