from .basin_shares import compare, share_removed, shares_of_run
from .claims import Claim, Number, Precondition, best_of, difference, pick, value, verdicts
from .decisions import NOT_TESTABLE, Bounds, Decision, decide, holm, seeds_needed
from .flatness_ratios import flatness_of_run, relative
from .function_priors_kept import function_prior_of_run
from .generalization import correlations, generalization_of_run, kendall
from .mechanics_compared import mechanics_of_run
from .onsets import lambda_of_run, turns
from .posterior_distances import posterior_of_run
from .sentences import say
from .stanton2021 import CLAIMS, STUDIES, open_studies
from .subliminal import gain_of_run
from .verdict_table import format_verdicts

__all__ = [
    "CLAIMS",
    "NOT_TESTABLE",
    "STUDIES",
    "Bounds",
    "Claim",
    "Decision",
    "Number",
    "Precondition",
    "best_of",
    "compare",
    "correlations",
    "decide",
    "difference",
    "flatness_of_run",
    "format_verdicts",
    "function_prior_of_run",
    "gain_of_run",
    "generalization_of_run",
    "holm",
    "kendall",
    "lambda_of_run",
    "mechanics_of_run",
    "open_studies",
    "pick",
    "posterior_of_run",
    "relative",
    "say",
    "seeds_needed",
    "share_removed",
    "shares_of_run",
    "turns",
    "value",
    "verdicts",
]
