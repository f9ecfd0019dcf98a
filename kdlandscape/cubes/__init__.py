"""The result cube: schema, atomic run files, compaction, provenance, summaries. Knows xarray, never torch."""
