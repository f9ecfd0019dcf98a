"""Ways between networks: straight and curved paths, their barriers."""
