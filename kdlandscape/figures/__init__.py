"""Dataset in, matplotlib axes out: each function is named after what it draws."""

from kdlandscape.figures.basins import basins, removed_share
from kdlandscape.figures.files import export, export_study, venue_style
from kdlandscape.figures.lines import init_lambda
from kdlandscape.figures.surfaces import planes

__all__ = ["basins", "export", "export_study", "init_lambda", "planes", "removed_share", "venue_style"]
