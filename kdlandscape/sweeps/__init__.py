"""Studies: a spec becomes a grid of runs, papermill executes them, each leaves one file."""
