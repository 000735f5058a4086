"""Text comes in; a model of the next symbol, its perplexity beside a bigram's, samples and scores go out."""
