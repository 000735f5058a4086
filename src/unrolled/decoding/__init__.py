"""Comes in: one timestep of a model, (symbols, state) -> (log-probabilities, state). Goes out: chosen symbols."""
