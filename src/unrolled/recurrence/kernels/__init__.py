"""Levels of a recurrence come in; machine code for this CPU goes out."""
