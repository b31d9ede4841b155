"""The generators of random numbers: their states, their seeds, and what cannot be repeated."""
