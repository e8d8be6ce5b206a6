"""The boards of a desk and their links as one machine, and the probe beside them."""
