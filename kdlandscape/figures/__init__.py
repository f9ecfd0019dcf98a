"""Dataset in, matplotlib axes out."""
