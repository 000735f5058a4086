"""Seeing inside a trained model: computed first, as arrays and JSON; drawn second."""
