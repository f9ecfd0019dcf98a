from .basins import compare_shares, share_removed, shares_of_run
from .claims import NOT_TESTED, Claim, difference, format_verdicts, pick, value, verdicts
from .flatness import relative
from .onsets import basin_onsets, onset
from .sentences import say
from .stanton2021 import CLAIMS, STUDIES, open_studies

__all__ = [
    "CLAIMS",
    "NOT_TESTED",
    "STUDIES",
    "Claim",
    "basin_onsets",
    "compare_shares",
    "difference",
    "format_verdicts",
    "onset",
    "open_studies",
    "pick",
    "relative",
    "say",
    "share_removed",
    "shares_of_run",
    "value",
    "verdicts",
]
