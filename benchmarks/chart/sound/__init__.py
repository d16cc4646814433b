"""Sound training programs of all kinds, as two strangers to the rules wrote them."""
