"""What rows of each task do in a turn: rows of several requests come in, run as one batch, and go on or are done."""
