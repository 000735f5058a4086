"""The command line: in come words that a person types, out go results on standard output and an exit code."""
