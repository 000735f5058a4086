"""Text comes in; a model of the next symbol, its perplexity beside an n-gram's, samples and scores go out."""
