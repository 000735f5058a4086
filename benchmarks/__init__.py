"""Comes in: a question about speed or quality. Goes out: its measured answer. One file a question."""
