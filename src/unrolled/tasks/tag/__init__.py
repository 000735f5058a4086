"""Sequences with a label for each step come in; a tagger, its accuracy or span F1, and its predictions go out."""
