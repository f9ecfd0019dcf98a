"""Extreme eigenpairs of a real symmetric operator from products with blocks of row vectors."""
