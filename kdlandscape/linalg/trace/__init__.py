"""Trace and diagonal of an operator from products with random vectors, with honest errors and stopping on them."""
