"""Labelled sequences come in; a predictor of classes, stars or numbers, its figures and predictions go out."""
