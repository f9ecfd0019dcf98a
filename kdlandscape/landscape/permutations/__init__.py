"""Networks up to the order of their units: symmetries, alignment, and repair of what lies between."""
