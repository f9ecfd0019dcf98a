"""Curvature at a point: operators, spectra, traces, and spectra along a path."""
