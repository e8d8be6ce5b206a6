"""Checks of the model: `-m layers`, `-m gradients`, `-m generate`, `-m train`."""
