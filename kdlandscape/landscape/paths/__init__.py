"""Ways between networks: straight and curved paths, their barriers, and how far training travels."""
