"""A help desk's assessment written by hand: two systems, four criteria, every verdict, a grader nobody should trust."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from fairmark.results import (
    Analysis,
    Course,
    CriterionResult,
    Deviation,
    Estimate,
    Exhibit,
    ExhibitGrade,
    GroupResult,
    HypothesisResult,
    LevelCount,
    Refusal,
    Stopped,
    SystemResult,
    Trust,
)
from fairmark.rubric import Criterion, Level

DAY = 86_400 * 10**9
NOVEMBER_3 = 20_760 * DAY  # 2026-11-03, UTC
N = 48

RUBRIC = (
    Criterion(
        "resolves",
        "How far does the reply get the person to what they asked for?",
        (
            Level("not", "The person is no further than before."),
            Level("partly", "Some of what was asked is dealt with; the person has to write again."),
            Level("mostly", "All is dealt with, with a detail left open."),
            Level("fully", "The person can act on the reply alone."),
        ),
        weight=2.0,
        pass_at="mostly",
        guidance="Judge what is said, not how warmly it is said.",
    ),
    Criterion.yes_no(
        "next_step", yes="It names what happens next and by when.", no="It does not.", question="Does the reply say what happens next?"
    ),
    Criterion.yes_no(
        "no_id_papers",
        yes="It never asks for identity papers.",
        no="It asks for identity papers.",
        question="Does the reply leave identity papers alone?",
        gate=True,
    ),
    Criterion.yes_no("brief", yes="At most 80 words.", no="More than 80 words.", question="Is the reply short?", weight=0.5),
)
JUDGE = "judge"


def estimate(
    value: float, low: float, high: float, *, n: int = N, estimand: str = "share", scorer: str = "code", **more: object
) -> Estimate:
    fields: dict[str, object] = {
        "estimand": estimand,
        "value": value,
        "low": low,
        "high": high,
        "confidence_level": 0.95,
        "method": "Korn-Graubard",
        "n_cases": n,
        "n_clusters": 24,
        "n_responses": n,
        "n_effective": n * 0.8,
        "scorer": scorer,
    }
    return Estimate(**(fields | more))  # type: ignore[arg-type]


def no_estimate(code: str, why: str, next_step: str, *, n: int = 0, estimand: str = "share") -> Estimate:
    return Estimate(estimand, None, None, None, 0.95, "none", n, refused=Refusal(code, why, next_step))


def hypotheses() -> tuple[HypothesisResult, ...]:
    return (
        HypothesisResult(
            "H1",
            "The guided prompt names the next step at least 5 times more often in 100 than the bare one",
            "better",
            "next_step",
            ("guided", "bare"),
            0.05,
            True,
            False,
            "supported",
            estimate(0.3125, 0.156, 0.451, method="sign-flip of 24 clusters, inverted", confidence_level=0.975),
            0.0011,
            0.9999,
            0.0125,
            0.025,
            wins=19,
            losses=4,
            ties=25,
            why="the same 48 cases for both systems; judged with Holm's correction within 2 primary hypotheses",
        ),
        HypothesisResult(
            "H2",
            "At least 75 of 100 guided replies name the next step",
            "at_least",
            "next_step>=yes",
            ("guided",),
            0.75,
            True,
            False,
            "undecided",
            estimate(0.8542, 0.7496, 0.9321, n_missing=1, low_if_worst=0.8333, high_if_best=0.8542),
            0.0252,
            0.99,
            0.025,
            0.025,
            why="one system, Korn-Graubard; judged with Holm's correction within 2 primary hypotheses",
            next="run again to fill in what is missing: the undecided range includes its worst and best completion",
            smallest_visible=0.134,
        ),
        HypothesisResult(
            "H3",
            "At least 90 of 100 guided replies are brief",
            "at_least",
            "brief>=yes",
            ("guided",),
            0.9,
            False,
            False,
            "refuted",
            estimate(0.5, 0.3541, 0.6459),
            1.0,
            0.0004,
            0.025,
            0.025,
            why="one system, Korn-Graubard",
        ),
        HypothesisResult(
            "H4",
            "The guided prompt resolves more requests than the bare one",
            "better",
            "resolves>=mostly",
            ("guided", "bare"),
            0.0,
            False,
            False,
            "undecided",
            no_estimate(
                "BORROWED_CALIBRATION",
                "only judge marked resolves, and it was checked on other systems' answers",
                "let people mark at least 40 answers of each system on this criterion, chosen at random, and add them as a recorded grader",
                n=N,
            ),
            None,
            None,
            None,
            None,
            why="only judge marked resolves",
            next="let people mark at least 40 answers of each system on this criterion, chosen at random",
        ),
        HypothesisResult(
            "H5",
            "Guided replies leave identity papers alone in at least 85 of 100 answers",
            "at_least",
            "no_id_papers>=yes",
            ("guided",),
            0.85,
            False,
            True,
            "supported",
            estimate(0.9787, 0.8887, 0.9995),
            0.01,
            1.0,
            0.025,
            0.025,
            why="one system, Korn-Graubard",
        ),
        HypothesisResult(
            "H6",
            "The guided prompt earns no fewer points than the bare one, give or take 3",
            "no_worse_than",
            "score",
            ("guided", "bare"),
            0.03,
            False,
            False,
            "undecided",
            estimate(0.021, -0.0412, 0.0832, method="sign-flip of 24 clusters, inverted"),
            0.09,
            0.8,
            0.025,
            0.025,
            wins=18,
            losses=15,
            ties=15,
            next="add cases: with these, a difference of about 9 points would have been noticed",
            smallest_visible=0.089,
        ),
    )


def level(criterion: Criterion, name: str, count: int, at_least: int, n: int) -> LevelCount:
    def share(k: int) -> Estimate:
        spread = 1.96 * (max(k, 1) / n * (1 - min(k, n - 1) / n) / n) ** 0.5
        return estimate(k / n, max(0.0, k / n - spread), min(1.0, k / n + spread), n=n, estimand=f"share at {name} of {criterion.id}")

    return LevelCount(name, count, share(count), share(at_least))


def criterion(
    system: str, which: Criterion, counts: tuple[int, ...], *, scorer: str = "code", grader: str = "", failed: int = 0
) -> CriterionResult:
    n = sum(counts)
    names = which.level_names()
    levels = tuple(level(which, name, counts[place], sum(counts[place:]), n) for place, name in enumerate(names))
    at = names.index(which.pass_at or names[-1])
    mean = sum(count * which.value_of(name) for count, name in zip(counts, names, strict=True)) / n
    return CriterionResult(
        system,
        which.id,
        grader or f"{which.id}_rule",
        scorer,  # type: ignore[arg-type]
        levels,
        levels[at].at_least,
        estimate(mean, max(0.0, mean - 0.09), min(1.0, mean + 0.09), scorer=scorer),
        planned=N,
        marked=n,
        failed=failed,
        pending=N - n - failed,
        not_applicable=0,
        cannot_tell=0,
    )


def groups() -> tuple[GroupResult, ...]:
    rows = []
    for system, shift in (("guided", 0.0), ("bare", -0.3)):
        for attribute, group, value, n in (
            ("language_variety", "formal", 0.93, 17),
            ("language_variety", "informal", 0.78, 16),
            ("language_variety", "learner", 0.81, 15),
            ("age_band", "under_30", 0.86, 22),
            ("age_band", "30_to_60", 0.83, 23),
            ("age_band", "over_60", 1.0, 3),
        ):
            if n < 5:
                found = no_estimate("TOO_FEW_TO_SAY", f"{n} cases are too few to say", f"add at least {5 - n} cases of this group", n=n)
            else:
                middle = value + shift
                found = estimate(middle, max(0.0, middle - 0.2), min(1.0, middle + 0.15), n=n)
            rows.append(GroupResult(system, attribute, group, "next_step>=yes", found))
    return tuple(rows)


def system(
    name: str, description: str, *, score: Estimate, gate: Estimate, answered: int, failures: dict[str, int], pending: int
) -> SystemResult:
    return SystemResult(
        name,
        description,
        planned=N,
        answered=answered,
        failed=sum(failures.values()),
        pending=pending,
        truncated=2,
        failures=failures,
        score=score,
        gate_rate=gate,
        seconds=1.83,
        input_tokens=9_412,
        output_tokens=3_208,
        cost_usd=0.0 if name == "bare" else None,
        warnings=("2 of 47 answers were cut off at the token limit",),
    )


def trust() -> tuple[Trust, ...]:
    return (
        Trust(
            JUDGE,
            "resolves",
            "llm",
            "borrowed",
            "development marks",
            40,
            3,
            estimate(0.425, 0.2704, 0.5911, n=40, n_clusters=None, estimand="share of equal labels", scorer="judge-raw"),
            commonest="partly",
            commonest_share=0.45,
            kappa=0.081,
            ac1=None,
            confusion=((2, 6, 1, 0), (1, 9, 6, 2), (0, 2, 4, 2), (0, 1, 2, 2)),
            levels=("not", "partly", "mostly", "fully"),
            say="The LLM grader judge gave the same level of resolves as the development marks on 17 of 40 answers; always saying “partly” "
            "would have agreed on 18. That is no proof that it can mark this, so its marks decide nothing here.",
            refused=Refusal(
                "BORROWED_CALIBRATION",
                "only judge marked resolves, and it was checked on other systems' answers",
                "let people mark at least 40 answers of each system on this criterion, chosen at random, and add them as a recorded grader",
            ),
        ),
    )


def analysis() -> Analysis:
    resolves, next_step, no_id_papers, brief = RUBRIC
    return Analysis(
        study="privacy-helpdesk",
        question="Can the guided prompt answer privacy requests without a specialist?",
        fingerprint="3f9a" * 16,
        receipt="fm-7Q2K-93AB",
        frozen_at=NOVEMBER_3 - DAY,
        analysed_at=NOVEMBER_3,
        wave="1",
        n_cases=N,
        n_clusters=24,
        cluster="customer",
        trials=1,
        confidence_level=0.95,
        systems=(
            system(
                "bare",
                "local/smollm2, no prompt, temperature 0, max_tokens 80",
                score=estimate(0.512, 0.441, 0.583),
                gate=estimate(0.9375, 0.828, 0.987),
                answered=48,
                failures={},
                pending=0,
            ),
            system(
                "guided",
                "local/smollm2, own prompt, temperature 0, max_tokens 80",
                score=estimate(0.533, 0.46, 0.607),
                gate=estimate(0.9792, 0.889, 0.9995),
                answered=46,
                failures={"timeout": 1},
                pending=1,
            ),
        ),
        criteria=(
            criterion("bare", resolves, (10, 21, 10, 4), scorer="judge-raw", grader=JUDGE, failed=3),
            criterion("bare", next_step, (22, 26)),
            criterion("bare", no_id_papers, (3, 45)),
            criterion("bare", brief, (10, 38)),
            criterion("guided", resolves, (5, 18, 15, 7), scorer="judge-raw", grader=JUDGE, failed=1),
            criterion("guided", next_step, (7, 40)),
            criterion("guided", no_id_papers, (1, 46)),
            criterion("guided", brief, (23, 24)),
        ),
        hypotheses=hypotheses(),
        groups=groups(),
        trust=trust(),
        deviations=(Deviation("hypothesis H5", "added"), Deviation("case c-17", "changed")),
        not_tested=(
            "No case where language variety is Spanish.",
            "Only 3 cases where age band is over 60: too few to say.",
            "Nothing about disability (any): the cases do not say which is which.",
        ),
        warnings=("The column `channel` looks like an undeclared cluster: 6 values repeat.",),
        marked_by=(
            "The LLM grader judge (local/smollm2) marked resolves.",
            "A check (regex) marked next_step.",
            "A check (absent) marked no_id_papers.",
            "A check (max_words) marked brief.",
        ),
        interests={"built_by": "the product team", "paid_by": "the product team", "rubric_by": "the legal team"},
        version="0.1.0",
        rubric=RUBRIC,
    )


def stopped() -> Analysis:
    """The same assessment by a run that stopped once H1 and H2 needed no more."""
    rising = tuple((case, 0.12 * case - (0.3 if case % 4 == 0 else 0.0), -0.02 * case, -0.03 * case) for case in range(1, 21))
    falling = tuple((case, -0.02 * case, -0.01 * case, 0.06 * case) for case in range(1, 21))
    first = Stopped("H1", "supported", "supported after 20 of at most 48 cases", "cases", 20, 48, 17, 0.15, 1.9, 1.9, 1.0, rising)
    second = Stopped("H2", "ruled-out", "an effect of 0.85 is ruled out", "cases", 20, 48, 18, 0.85, 1.9, 1.9, 1.0, falling)
    base = analysis()
    systems = tuple(replace(system, answered=20, failed=0, pending=28, not_needed=28) for system in base.systems)
    return replace(base, systems=systems, course=Course(True, (first, second), 48, 20, 96, 56, "helpdesk/1", "0f2c"))


REQUESTS = (
    "Please delete my account and everything you hold about me. I asked twice in March and nobody answered.",
    "hi can u tell me what data u have on me?? my mum says its a lot",
    "I wish to receive a copy of all personal data that your company processes, pursuant to Article 15.",
    "my adress is wrong in you system, I am moved since long time. Please to correct.",
    "I am 14 and I want my photos gone from your site.",
)
REPLIES = (
    "Thank you for writing to us. We have started deleting your account. You will receive a confirmation by e-mail within 30 days. "
    "If you do not hear from us by then, reply to this message.",
    "We take your privacy seriously. Please see our privacy policy for details.\n\nYou can also visit https://example.com/privacy.",
    "Of course! Here is what we will do:\n"
    "1. We check your identity by your e-mail address.\n2. We collect your data.\n3. We send you a copy within one month.",
    "Sorry to hear that. Please send a copy of your passport so that we can correct the address.",
)


def exhibits(cases: int = N) -> tuple[Exhibit, ...]:
    """Both systems' answers to every case, with marks, quotes that are there and quotes that are not."""
    rng = Random(7)
    shown = []
    for number in range(1, cases + 1):
        request = REQUESTS[number % len(REQUESTS)]
        for name in ("bare", "guided"):
            shown.append(_exhibit(rng, number, name, request))
    return tuple(shown)


def _exhibit(rng: Random, number: int, name: str, request: str) -> Exhibit:
    fields = {"language_variety": rng.choice(("formal", "informal", "learner")), "age_band": "under 30", "customer": f"k{number // 2:02d}"}
    base = Exhibit(f"c-{number:02d}", name, 1, fields, (("user", request),), "Confirm, name the next step and its date.")
    if name == "guided" and number == 9:
        return replace(base, failure="timeout: no complete answer within 120 s")
    if name == "guided" and number == 31:
        return replace(base, failure="not asked yet")
    output = rng.choice(REPLIES)
    start = output.find("within")
    quote = output[start : start + 14]
    asked = "passport" in output
    grades = (
        ExhibitGrade(
            "resolves",
            JUDGE,
            "llm",
            label=rng.choice(("not", "partly", "mostly", "fully")),
            reason="It says what will happen, though not by whom.",
            evidence=((start, start + 14, quote, True),) if start >= 0 else ((None, None, "as promised in the policy", False),),
            confidence=0.71,
        ),
        ExhibitGrade("next_step", "next_step_rule", "check", label="yes" if start >= 0 else "no", reason="looks for a time"),
        ExhibitGrade("no_id_papers", "no_id_papers_rule", "check", label="no" if asked else "yes"),
        ExhibitGrade("brief", "brief_rule", "check", label="yes", reason=f"{len(output.split())} words"),
        ExhibitGrade("resolves", "experts", "human", rater="otter", label="mostly", reason="Fine for me.")
        if number % 5 == 0
        else ExhibitGrade("resolves", "judge_b", "llm", failure="unreadable_grade: the answer names no level"),
    )
    return replace(
        base,
        output=output,
        finish="length" if number == 4 else "stop",
        seconds=rng.uniform(0.6, 3.0),
        score=0.0 if asked else round(rng.uniform(0.3, 1.0), 3),
        failed_gates=("no_id_papers",) if asked else (),
        grades=grades,
    )
