"""Comes in: batches of symbols or frames. Goes out: log-probabilities, scores and losses of the five shapes."""
