"""What the methods behind the figures are, in words. Only those that were used are named."""

from __future__ import annotations

from collections.abc import Iterable

from fairmark.results import Analysis, Estimate

# how a method's name begins, as readers find it elsewhere, and what it means
KNOWN: tuple[tuple[str, str, str], ...] = (
    ("clopper", "Clopper and Pearson", "the exact interval of a share, for cases that are independent of one another"),
    ("korn", "Korn and Graubard", "the exact interval for as many independent answers as the clusters are worth"),
    (
        "betting",
        "Betting (Waudby-Smith and Ramdas)",
        "an interval for a mean of few units that assumes nothing about the scores but their ends",
    ),
    ("hurdle", "Hurdle", "the share of answers that keep every must-pass rule, times the mean score of those"),
    (
        "hybrid",
        "Stopping rule (e-process)",
        "evidence that may be looked at after every case, because what is not so would hardly ever gather so much of it; "
        "what is still open after the last case gets one ordinary test, and each has half of the allowed error",
    ),
    (
        "finite-bank",
        "Stopping rule for a finite bank (e-process, drawn without replacement)",
        "what the cases that are still to come could change, held against evidence that may be looked at after every case",
    ),
    ("tango", "Tango", "a score interval for the difference of two shares, where both systems answered the same cases"),
    (
        "sign-flip",
        "Sign-flip",
        "if neither system were better, each difference could as well have the other sign; the interval holds all that passes this test",
    ),
    (
        "verdict-stratified",
        "Corrected by people’s marks",
        "people’s share of passes within each verdict of the language model, weighted by how often it gave that verdict",
    ),
    (
        "difference of verdict-stratified",
        "Corrected by people’s marks",
        "the difference of two systems, each corrected by the people’s marks of its own answers",
    ),
    (
        "stratified by the grader",
        "Corrected by people’s marks",
        "people’s mean mark within each level that the language model gave, weighted by how often it gave that level",
    ),
    (
        "difference of stratified",
        "Corrected by people’s marks",
        "the difference of two systems’ mean marks, each corrected by the people’s marks of its own answers",
    ),
)


def methods(analysis: Analysis) -> tuple[str, ...]:
    """One sentence for each method used, then how uncertainty, missing marks and several hypotheses are dealt with."""
    used = dict.fromkeys(estimate.method for estimate in _estimates(analysis) if estimate.refused is None and estimate.method)
    lines = list(dict.fromkeys(_meaning(method) for method in used))
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
    if any("Holm" in result.why for result in analysis.hypotheses):
        lines.append("Primary hypotheses were judged together (Holm), so that all of them err no more often than one alone would.")
    if any("Benjamini" in result.why for result in analysis.hypotheses):
        lines.append("The others were judged together (Benjamini and Hochberg), so that few of the decided ones are decided by chance.")
    lines.append("A failed answer or an unreadable mark is never a zero and never dropped: planned = answered + failed + pending.")
    return tuple(lines)


def _meaning(method: str) -> str:
    for start, name, meaning in KNOWN:
        if method.lower().startswith(start):
            return f"{name}: {meaning}."
    return f"{method}."


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
