"""Texts and their translations come in; a translator, its BLEU and chrF, translations and their scores go out."""
