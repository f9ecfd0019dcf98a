"""How many points are evaluated: the settings, their measured choice, and the recorded graph."""
