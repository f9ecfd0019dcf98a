"""Matrix-free numerics: a matvec and vectors in, tensors out. Knows torch only; no module imports a sibling."""
