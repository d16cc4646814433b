"""Training programs with one fault each and their sound twins, by three more strangers to the rules."""
