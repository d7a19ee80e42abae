"""Statistics on plain arrays: this room knows arrays, `results` and `errors`, and serves any tool's numbers."""

from fairmark.stats.agreement import Coefficient, cohen_kappa, confusion_matrix, gwet_ac1
from fairmark.stats.clusters import ClusteredMean, betting, cluster_t, clustered_mean, hurdle, korn_graubard, unpaired_difference
from fairmark.stats.corrected_scores import (
    CorrectedLevels,
    CorrectedMean,
    CorrectedMeanDifference,
    OrdinalCorrection,
    corrected_levels,
    corrected_levels_difference,
    corrected_scores,
    corrected_scores_difference,
    mean_of_levels,
    mean_of_scores,
    ordinal_correction,
)
from fairmark.stats.correction import (
    Corrected,
    CorrectedDifference,
    CorrectedRate,
    corrected_difference,
    corrected_rate,
    verdict_stratified,
)
from fairmark.stats.costs import CostPerSuccess, break_even, cost_per_success
from fairmark.stats.estimates import estimate_mean, estimate_rate, gated_mean
from fairmark.stats.groups import GroupGap, group_gap
from fairmark.stats.intervals import Interval, benjamini_hochberg, bh_levels, holm, holm_levels, one_sided_p
from fairmark.stats.paired import McNemar, PairedIntervals, mcnemar, mcnemar_chi2, tango
from fairmark.stats.power import paired_sample_size, smallest_visible_difference, smallest_visible_from_width, smallest_visible_rate
from fairmark.stats.proportions import clopper_pearson, jeffreys, most_failures_unseen, mover_difference, newcombe_difference, wilson
from fairmark.stats.repeats import Repeats, pass_all_k, pass_at_k, repeats

__all__ = [
    "ClusteredMean",
    "Coefficient",
    "Corrected",
    "CorrectedDifference",
    "CorrectedLevels",
    "CorrectedMean",
    "CorrectedMeanDifference",
    "CorrectedRate",
    "CostPerSuccess",
    "GroupGap",
    "Interval",
    "McNemar",
    "OrdinalCorrection",
    "PairedIntervals",
    "Repeats",
    "benjamini_hochberg",
    "betting",
    "bh_levels",
    "break_even",
    "clopper_pearson",
    "cluster_t",
    "clustered_mean",
    "cohen_kappa",
    "confusion_matrix",
    "corrected_difference",
    "corrected_levels",
    "corrected_levels_difference",
    "corrected_rate",
    "corrected_scores",
    "corrected_scores_difference",
    "cost_per_success",
    "estimate_mean",
    "estimate_rate",
    "gated_mean",
    "group_gap",
    "gwet_ac1",
    "holm",
    "holm_levels",
    "hurdle",
    "jeffreys",
    "korn_graubard",
    "mcnemar",
    "mcnemar_chi2",
    "mean_of_levels",
    "mean_of_scores",
    "most_failures_unseen",
    "mover_difference",
    "newcombe_difference",
    "one_sided_p",
    "ordinal_correction",
    "paired_sample_size",
    "pass_all_k",
    "pass_at_k",
    "repeats",
    "smallest_visible_difference",
    "smallest_visible_from_width",
    "smallest_visible_rate",
    "tango",
    "unpaired_difference",
    "verdict_stratified",
    "wilson",
]
