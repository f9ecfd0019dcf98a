"""Matrix-free numerics: a matvec and vectors in, tensors out. Knows torch only; a method imports no other."""
