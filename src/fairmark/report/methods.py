"""What the methods behind the figures are, in words. Only those that were used are named."""

from __future__ import annotations

from collections.abc import Iterable

from fairmark.results import Analysis, Estimate

# a part of a method's name, and what it means
KNOWN: tuple[tuple[str, str], ...] = (
    ("korn", "the exact interval of Clopper and Pearson for as many independent answers as the clusters are worth (Korn and Graubard)"),
    ("clopper", "the exact interval of Clopper and Pearson"),
    ("jeffreys", "Jeffreys’ interval"),
    ("wilson", "Wilson’s score interval"),
    ("tango", "Tango’s score interval for paired answers: both systems answered the same cases"),
    (
        "sign-flip",
        "a sign-flip test turned into an interval: if neither system were better, each cluster’s difference could as well be reversed",
    ),
    (
        "sign flip",
        "a sign-flip test turned into an interval: if neither system were better, each cluster’s difference could as well be reversed",
    ),
    ("hurdle", "an interval in two steps: first the share that broke no must-pass rule, then the score of the rest"),
    ("bca", "a bias-corrected bootstrap over cases"),
    ("bootstrap", "a bootstrap: the cases are drawn again and again"),
    ("student", "Student’s t over cases or clusters"),
    ("t over", "Student’s t over cases or clusters"),
    ("t interval", "Student’s t over cases or clusters"),
)


def methods(analysis: Analysis) -> tuple[str, ...]:
    """One sentence for each method used, then how uncertainty, missing marks and several hypotheses are dealt with."""
    lines = []
    for method in dict.fromkeys(estimate.method for estimate in _estimates(analysis) if estimate.refused is None and estimate.method):
        meaning = next((words for part, words in KNOWN if part in method.lower()), "")
        lines.append(f"{method}: {meaning}." if meaning else f"{method}.")
    if analysis.n_clusters is not None:
        lines.append("Answers of one cluster are not independent. Whole clusters are the units of every range.")
    if analysis.trials > 1:
        lines.append("Repeats of a case are averaged first. They are not more cases.")
    if any(estimate.n_missing for estimate in _estimates(analysis)):
        lines.append("Where marks are missing, the range runs from their worst to their best completion.")
    if any(result.alpha_support is not None for result in analysis.hypotheses):
        lines.append(
            "A hypothesis is supported when its whole range lies beyond what was expected. "
            "It is refuted when its whole range lies on the other side. Everything else is undecided."
        )
        lines.append("Several hypotheses were judged with stricter levels, so that chance has no more openings than with one.")
    lines.append("A failed answer or an unreadable mark is never a zero and never dropped: planned = answered + failed + pending.")
    return tuple(lines)


def _estimates(analysis: Analysis) -> Iterable[Estimate]:
    for hypothesis in analysis.hypotheses:
        yield hypothesis.estimate
    for system in analysis.systems:
        yield system.score
        if system.gate_rate is not None:
            yield system.gate_rate
    for criterion in analysis.criteria:
        yield criterion.pass_rate
        yield criterion.mean_value
    for group in analysis.groups:
        yield group.estimate
    for receipt in analysis.trust:
        if receipt.agreement is not None:
            yield receipt.agreement
