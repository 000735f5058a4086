"""In: a recipe and a corpus; out: a run folder that holds a trained model and all that is needed to go on with it."""
