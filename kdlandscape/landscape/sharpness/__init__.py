"""Sharpness, flatness and capacity of a network, each with what it is blind to."""
