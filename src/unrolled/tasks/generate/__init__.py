"""Sequences come in, with their classes or without; a generator of novel ones, which is a classifier too, goes out."""
