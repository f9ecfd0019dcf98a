"""Everything that looks at a loss surface: objectives, directions, slices, paths, spectra."""
