"""Training programs with one fault each and their sound twins, as strangers to the rules wrote them."""
