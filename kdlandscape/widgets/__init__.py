"""Widgets that explore a cube."""
