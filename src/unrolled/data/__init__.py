"""A text file comes in; symbols (a vocabulary), memory-mapped streams of their ids, and batches of windows go out."""
