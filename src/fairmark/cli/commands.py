"""What each command does. Imported only when one runs, so that `--help` stays quick."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import shutil
import signal
import sys
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fairmark import __version__
from fairmark.cli import screen
from fairmark.cli.progress import Watcher
from fairmark.errors import CannotDo, Mistake, Problem
from fairmark.report.underway import duration
from fairmark.results import Analysis
from fairmark.study import Budget, Part
from fairmark.workbench import DECIDED, Tally, Workbench, analyse_table
from fairmark.workbench.telling import Watch

# all that was imported stays, and need not be looked through for garbage again; `main` has turned the looking off
gc.freeze()
gc.enable()

EXIT_REFUTED = 100
EXIT_UNDECIDED = 101
PARTS: Mapping[str, Part] = {"test": "test", "dev": "dev", "train": "train"}
NOT_UNPACKED = {"recording.jsonl", "__pycache__"}


def demo(folder: Path, *, recorded: bool, show: bool, as_json: bool, quiet: bool, events: bool) -> None:
    """The shipped study from the first answer to the report."""
    if not recorded and find_spec("xllamacpp") is None:
        raise CannotDo(
            "NO_LOCAL",
            "the demo asks a language model on this machine, and the package that runs it is not installed",
            "pip install 'fairmark[local]', or replay the shipped recording: fairmark demo --recorded",
        )
    unpack_demo(folder)
    from fairmark import workbench

    bench = workbench.recorded_demo(folder) if recorded else Workbench(folder)
    with bench:
        tally, analysis = _run(bench, as_json=as_json, quiet=quiet, events=events)
        written = bench.report(folder / "report.html")
        if as_json:
            screen.document({"tally": asdict(tally), "analysis": analysis.as_dict(), "report": str(written)})
        else:
            _say_run(tally)
            _say_analysis(analysis)
            screen.out.print(f"\nReport: {written}")
            screen.out.print(f"Next: open it in a browser, read {folder / 'study.yaml'}, or start your own with `fairmark init my-study`.")
        if show:
            webbrowser.open(written.resolve().as_uri())


def unpack_demo(folder: Path) -> None:
    """Copies the shipped study. Files that are there already are left as they are, so that a changed demo stays changed."""
    if folder.exists() and not folder.is_dir():
        raise Mistake.in_call(f"{folder} is a file", allowed="a new folder, or one that an earlier demo made")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "study.yaml").exists():
        raise Mistake.in_call(f"{folder} holds other files", allowed="a new or empty folder", remedy="name another: fairmark demo FOLDER")
    with resources.as_file(resources.files("fairmark") / "demo") as shipped:
        folder.mkdir(parents=True, exist_ok=True)
        for source in sorted(shipped.iterdir()):
            target = folder / source.name
            if source.name in NOT_UNPACKED or target.exists():
                continue
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, target)


def init(folder: Path, *, as_json: bool) -> None:
    from fairmark import load

    files = load.scaffold(folder)
    if as_json:
        screen.document({"files": [str(file) for file in files]})
        return
    for file in files:
        screen.out.print(f"wrote {file}")
    screen.out.print(f"\nNext: fairmark run -c {folder}, then edit study.yaml.")


def check(config: Path, *, as_json: bool) -> None:
    bench = Workbench(config, memory=True)
    study, advice = bench.study, bench.check()
    if as_json:
        screen.document(
            {
                "study": study.name,
                "cases": len(study.cases),
                "systems": list(study.systems),
                "criteria": [criterion.id for criterion in study.rubric],
                "hypotheses": [hypothesis.id for hypothesis in study.hypotheses],
                "fingerprint": study.fingerprint(),
                "advice": screen.problems(advice),
            }
        )
        return
    for problem in advice:
        screen.out.print(f"advice  {problem}")
    screen.out.print(
        f"{study.name}: no mistakes. {len(study.cases)} cases, {len(study.systems)} systems, "
        f"{len(study.rubric.criteria)} criteria, {len(study.hypotheses)} hypotheses."
    )
    screen.out.print(f"Next: fairmark plan -c {config}")


def plan(config: Path, *, wave: str, as_json: bool) -> None:
    with _open(config, wave, keep=False) as bench:
        outlook = bench.plan()
    if as_json:
        screen.document(outlook)
        return
    for line in outlook.lines:
        price = "price unknown" if line.usd_at_most is None else f"{line.usd_at_least:.4f} to {line.usd_at_most:.4f} USD"
        screen.out.print(
            f"{line.name}: {line.planned} {line.what}, {line.stored} in the store, {line.to_ask} calls; "
            f"about {line.input_tokens} tokens in, at most {line.output_tokens_at_most} out; {price}"
        )
    total = "unknown" if outlook.usd_at_most is None else f"{outlook.usd_at_least:.4f} to {outlook.usd_at_most:.4f} USD"
    screen.out.print(f"Together {outlook.calls} calls, price {total}.")
    if outlook.unpriced:
        screen.out.print(f"No price is known for {', '.join(outlook.unpriced)}; unknown is not free.")
    screen.out.print("\nWho is sent what")
    screen.pairs({sending.name: f"{sending.host}  {', '.join(sending.fields)}" for sending in outlook.sendings})
    if (marking := outlook.marking) is not None:
        screen.out.print(
            f"\nPeople mark {marking.responses} responses of each system on {marking.criteria} criteria: "
            f"about {marking.each} for each of {marking.people}. They start with: fairmark serve -c {config}"
        )
    screen.out.print("\nWhat so many cases can show")
    for power in outlook.power:
        if not power.can_decide:
            screen.out.print(f"{power.hypothesis}: cannot be decided: {power.why}")
            continue
        parts = [
            f"{effect * 100:.0f} points ({assumed})" if effect is not None else f"no difference at all ({assumed})"
            for assumed, effect in power.smallest
        ]
        screen.out.print(f"{power.hypothesis} would show {', '.join(parts)}")
    if outlook.stopping:
        screen.out.print("\nWhen it may stop")
        for rule in outlook.stopping:
            screen.out.print(rule.headline())
        screen.out.print(f"Each time, {outlook.stopping[0].rule}.")
    screen.out.print(f"\nNext: fairmark run -c {config}")


def run(
    config: Path,
    *,
    wave: str,
    retry_failed: bool,
    max_calls: int | None,
    max_usd: float | None,
    on: str | None,
    as_json: bool,
    quiet: bool,
    events: bool,
) -> None:
    with _open(config, wave) if on is None else _on_cluster(on, config, wave) as bench:
        budget = bench.study.budget
        budget = Budget(
            usd=max_usd if max_usd is not None else budget.usd,
            calls=max_calls if max_calls is not None else budget.calls,
            minutes=budget.minutes,
        )
        tally, analysis = _run(bench, as_json=as_json, quiet=quiet, events=events, retry_failed=retry_failed, budget=budget)
    if as_json:
        screen.document({"tally": asdict(tally), "analysis": analysis.as_dict()})
    else:
        _say_run(tally)
        _say_analysis(analysis)
        screen.out.print(f"\nHead of the store's chain: {analysis.head}")
        screen.out.print(f"Next: fairmark report -c {config}")
    if tally.answered == 0:
        raise SystemExit(1)


def _run(
    bench: Workbench,
    *,
    as_json: bool,
    quiet: bool,
    events: bool,
    retry_failed: bool = False,
    budget: Budget | None = None,
) -> tuple[Tally, Analysis]:
    """Runs with live progress; Ctrl-C once drains and saves, twice stops at once."""
    primary = [hypothesis.id for hypothesis in bench.study.hypotheses if hypothesis.primary]
    watcher = Watcher(quiet=quiet, events=events, study=bench.study.name, hypotheses=primary)
    decided: set[str] = set()

    def quarter() -> None:
        """Says what is decided already: the range runs from the worst to the best completion of what is missing."""
        if as_json or quiet:
            return
        analysis = bench.analyse()
        new = [result for result in analysis.hypotheses if result.verdict != "undecided" and result.id not in decided]
        if new:
            decided.update(result.id for result in new)
            watcher.decided({result.id: result.verdict for result in new})
            with watcher.paused():
                screen.out.print("Decided already, counting every answer that is still missing the other way:")
                screen.verdicts(analysis, only={result.id for result in new})
                screen.out.print("")

    def responses_done() -> None:
        waiting = any(spec.kind == "llm" for spec in bench.study.graders.values())
        if as_json or quiet or not waiting:
            return
        analysis = bench.analyse()
        early = {result.id for result in analysis.hypotheses if result.estimate.refused is None}
        if early:
            with watcher.paused():
                screen.out.print("All answers are in. Verdicts that rest on checks (the LLM grader is still marking):")
                screen.verdicts(analysis, only=early)
                screen.out.print("")

    async def work() -> Tally:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def once() -> None:
            loop.remove_signal_handler(signal.SIGINT)  # before it is said, or a quick second one would be lost
            watcher.notify("Stopping: waiting for answers that are under way. Press Ctrl-C again to stop at once.")
            stop.set()

        with suppress(NotImplementedError, RuntimeError):  # Windows, or not the main thread
            loop.add_signal_handler(signal.SIGINT, once)
        watch = Watch(
            progress=watcher.progress,
            notify=watcher.notify,
            begun=_get_ready,
            quarter=quarter,
            responses_done=responses_done,
            stop=stop,
        )
        return await bench.run_async(watch, retry_failed=retry_failed, budget=budget)

    sys.setswitchinterval(0.0005)  # the thread that writes the store gets its turn while answers are read
    with watcher.watching():
        tally = asyncio.run(work())
    watcher.end(asdict(tally))
    return tally, bench.analyse()


def _get_ready() -> None:
    """Imports what verdicts need while answers are on their way, so that they need not be waited for in the end."""
    import fairmark.analyse
    import fairmark.calibrate  # noqa: F401


def _say_run(tally: Tally) -> None:
    spent = "spend unknown" if tally.usd is None else f"{tally.usd:.4f} USD"
    screen.out.print(
        f"{tally.planned} planned = {tally.answered} answered + {tally.failed} failed + {tally.pending} pending; "
        f"{tally.calls} model calls in {duration(tally.seconds)}, {spent}."
    )
    if tally.stopped == DECIDED:
        screen.out.print(f"Stopped early: {tally.stopped}. What is pending is not needed.")
    elif tally.stopped:
        screen.out.print(f"Stopped early: {tally.stopped}. The same command goes on from here.")
    screen.out.print("")


def _say_analysis(analysis: Analysis) -> None:
    screen.verdicts(analysis)
    screen.out.print("")
    screen.systems(analysis)
    for trust in analysis.trust:
        screen.out.print(trust.say)
        for line in trust.tuning:
            screen.out.print(line)
    for deviation in analysis.deviations:
        screen.out.print(f"Changed after the plan was frozen: {deviation.what} {deviation.change}.")
    for warning in analysis.warnings:
        screen.out.print(warning)


def serve(config: Path, *, wave: str, host: str, port: int, allow_remote: bool, names: list[str], show: bool, as_json: bool) -> None:
    from fairmark.web import access, app

    with _open(config, wave) as bench:
        given = bench.assign()
        # a link that is broken over two lines opens nothing
        say = partial(screen.err.print if as_json else screen.out.print, soft_wrap=True)
        if given.assignments:
            people = len({one.person for one in given.assignments})
            say(f"{len(given.assignments)} responses are newly given out to {people} people.")
        for system, plan in given.plans.items():
            say(f"{system}: {plan.advice}.")

        def ready(links: dict[str, str]) -> None:
            if as_json:
                screen.document({"links": links, "given_out": len(given.assignments)})
            if show:
                webbrowser.open(links[access.OWNER])

        app.serve(bench, host=host, port=port, allow_remote=allow_remote, hosts=tuple(names), say=say, ready=ready)


def calibrate(config: Path, *, wave: str, on: str, as_json: bool) -> None:
    from fairmark.calibrate import PeopleReceipt, Receipt

    if on not in PARTS:
        raise Mistake.in_call(f"there is no part `{on}`", allowed=", ".join(PARTS))
    part = PARTS[on]
    with _open(config, wave) as bench:
        if part != "test":
            bench.mark_part(part)
        receipts = bench.calibrate(part)
    if as_json:
        screen.document({"trust": receipts})
        return
    if not receipts:
        screen.out.print("No LLM grader marks anything here, so there is nothing to calibrate.")
    for trust in receipts:
        screen.out.print(trust.say)
        for line in trust.tuning:
            screen.out.print(line)
        if isinstance(trust.receipt, Receipt):
            screen.receipt(trust.receipt)
        elif isinstance(trust.receipt, PeopleReceipt):
            screen.people(trust.receipt)
        elif trust.agreement is not None:
            screen.pairs(
                {
                    "agreement": screen.interval(trust.agreement),
                    f"always “{trust.commonest}”": screen.number(trust.commonest_share),
                    "kappa": screen.number(trust.kappa),
                    "AC1": screen.number(trust.ac1),
                    "calibration": f"{trust.calibration} ({trust.marked_by}, {trust.n} answers, {trust.unreadable} unreadable)",
                }
            )
        if trust.refused is not None:
            screen.out.print(f"{trust.refused.code}: {trust.refused.why}. Next: {trust.refused.next}.")
        screen.out.print("")


def audit(
    config: Path,
    *,
    wave: str,
    grader: str | None,
    criterion: str | None,
    only: str | None,
    cases: int,
    plan: bool,
    max_calls: int | None,
    as_json: bool,
    quiet: bool,
    events: bool,
) -> None:
    """Planned experiments on the LLM graders: how many calls first, then what they find."""
    experiments = [name.strip() for name in only.split(",") if name.strip()] if only is not None else None
    with _open(config, wave, keep=not plan) as bench:
        plans = bench.audit_plans(grader, criterion, experiments, cases=cases)
        if plan:
            if as_json:
                screen.document(
                    {"plans": [{"grader": made.grader, "calls": made.calls, "not_tested": list(made.not_tested)} for made in plans]}
                )
                return
            for made in plans:
                screen.out.print(f"{made.grader}: {made.calls} calls, {len(made.tasks) - made.calls} answers in the store.")
                screen.not_tried(made.not_tested)
            screen.out.print(f"\nNext: fairmark audit -c {config}")
            return
        calls = sum(made.calls for made in plans)
        watcher = Watcher(quiet=quiet, events=events, study=f"audit of {bench.study.name}")
        if not as_json and plans:
            watcher.notify(f"The audit asks {calls} questions; stopped, it goes on from where it was.")
        budget = None if max_calls is None else Budget(calls=max_calls)
        with watcher.watching():
            reports = bench.audit(
                grader,
                criterion,
                experiments,
                cases=cases,
                watch=Watch(progress=watcher.progress, notify=watcher.notify),
                budget=budget,
            )
        watcher.end({"audits": len(reports)})
    if as_json:
        screen.document({"audits": list(reports)})
        return
    if not reports:
        screen.out.print("No LLM grader marks anything here, so there is nothing to audit.")
        return
    for report in reports:
        screen.audit(report)
    screen.out.print(f"\nNext: fairmark calibrate -c {config}, which says how far people bear its marks out.")


def analyse(
    table: Path | None,
    config: Path,
    *,
    wave: str,
    column: list[str],
    better: str | None,
    than: str | None,
    by: float,
    on: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    if table is not None:
        bench = analyse_table(table, columns=_columns(column), better=better, than=than, by=by, on=on)
    else:
        if column or better or than or on:
            raise Mistake.in_call(
                "--column, --better, --than and --on describe a bare table, and no table was named",
                remedy="name the table, or write the hypothesis into study.yaml",
            )
        bench = _open(config, wave)
    with bench:
        analysis = bench.analyse()
        written = bench.report(out) if out is not None else None
    if as_json:
        screen.document(analysis.as_dict() | ({"report": str(written)} if written else {}))
    else:
        _say_analysis(analysis)
        if table is not None:
            _say_criteria(analysis)
        if written is not None:
            screen.out.print(f"\nReport: {written}")
        elif table is None:
            screen.out.print(f"\nNext: fairmark report -c {config}")
    if not any(result.marked for result in analysis.criteria):
        if not as_json:
            screen.err.print("Nothing has been marked yet, so there is nothing to judge. Next: fairmark run")
        raise SystemExit(1)


def _say_criteria(analysis: Analysis) -> None:
    for result in analysis.criteria:
        screen.out.print(
            f"{result.system} on {result.criterion}: mean {screen.interval(result.mean_value)} (0 to 1), {result.marked} marked"
        )


def _columns(given: list[str]) -> Mapping[str, str]:
    columns: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            raise Mistake.in_call(f"--column {text}", allowed="ROLE=COLUMN, such as case=doc_id", remedy="write one --column for each role")
        columns[name.strip()] = value.strip()
    return columns


def report(out: Path | None, config: Path, *, wave: str, show: bool, as_json: bool) -> None:
    with _open(config, wave) as bench:
        written = bench.report(out if out is not None else bench.study.folder / "report.html")
    if as_json:
        screen.document({"report": str(written)})
    else:
        screen.out.print(f"Report: {written}")
    if show:
        webbrowser.open(written.resolve().as_uri())


def gate(config: Path, *, wave: str, as_json: bool) -> None:
    with _open(config, wave) as bench:
        analysis = bench.analyse()
    primary = [result for result in analysis.hypotheses if result.primary]
    judged = primary or list(analysis.hypotheses)
    marked = any(result.marked for result in analysis.criteria)
    if not judged or not marked:
        code, why = 1, "no hypothesis is declared" if not judged else "nothing has been marked"
    elif any(result.verdict == "refuted" for result in judged):
        code, why = EXIT_REFUTED, "the bar is not met"
    elif any(result.verdict == "undecided" for result in judged):
        code, why = EXIT_UNDECIDED, "the evidence does not decide it"
    else:
        code, why = 0, "the bar is met"
    if as_json:
        screen.document({"exit": code, "why": why, "hypotheses": list(judged)})
    else:
        if judged:
            screen.verdicts(analysis, only={result.id for result in judged})
        screen.out.print(f"\nGate: {why} (exit {code}).")
    raise SystemExit(code)


def selfcheck(file: Path | None, *, as_json: bool) -> None:
    from fairmark.stats import checks

    found = checks.shipped_checks() if file is None else _read_checks(file)
    outcome = checks.run_checks(found)
    failed = outcome["failed"]
    if as_json:
        screen.document(outcome)
    else:
        for failure in failed:
            screen.out.print(f"{failure['id']} ({failure['kind']}):", markup=False, highlight=False)
            for line in checks.explained(failure, found):
                screen.out.print(f"    {line}", markup=False, highlight=False)
        screen.out.print(f"{outcome['passed']} passed, {len(failed)} failed.")
    if failed:
        raise SystemExit(1)


def _read_checks(file: Path) -> list[dict[str, Any]]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Mistake.in_call(f"there is no file {file}", remedy="name a JSON file of checks") from None
    except json.JSONDecodeError as error:
        raise Mistake([Problem(str(file), error.lineno, error.colno, error.msg, "a JSON list of checks", "mend the file")]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Mistake([Problem(str(file), None, None, f"cannot be read: {error}", "a JSON file in UTF-8", "")]) from None
    if isinstance(found, dict) and "checks" in found:
        found = found["checks"]
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise Mistake([Problem(str(file), 1, 1, "this is not a list of checks", "[{id, kind, input, expected, tol}, ...]", "")])
    return found


def doctor(*, as_json: bool) -> None:
    """What this machine has. Keys are named, never shown."""
    from importlib.metadata import PackageNotFoundError, version

    from fairmark import load, providers

    env = load.environment(Path())

    def installed(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    weights = providers.cached_weights(env)
    found = {
        "fairmark": __version__,
        "python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "numpy": installed("numpy"),
        "scipy": installed("scipy"),
        "xllamacpp (embedded model)": installed("xllamacpp") or "not installed: pip install 'fairmark[local]'",
        "SmolLM2 weights": str(weights) if weights else "not fetched yet: `fairmark demo` fetches them",
        "OPENAI_API_KEY": "set" if env.get("OPENAI_API_KEY") else "not set",
        "OPENAI_BASE_URL": "set" if env.get("OPENAI_BASE_URL") else "not set",
        "ANTHROPIC_API_KEY": "set" if env.get("ANTHROPIC_API_KEY") else "not set",
    }
    if as_json:
        screen.document(found)
        return
    screen.pairs({name: value or "not installed" for name, value in found.items()})
    screen.out.print("\nNext: fairmark demo" if installed("xllamacpp") else "\nNext: fairmark demo --recorded")


def export_marks(file: Path, config: Path, *, wave: str, as_json: bool) -> None:
    with _open(config, wave) as bench:
        count = bench.export_marks(file)
    if as_json:
        screen.document({"marks": count, "file": str(file)})
    else:
        screen.out.print(f"{count} marks in {file}. To use them elsewhere: graders: {{experts: {{recorded: {file.name}}}}}")


def forget(case: str, config: Path, *, as_json: bool) -> None:
    with _open(config, "1") as bench:
        touched = bench.forget(case)
    if as_json:
        screen.document({"case": case, "emptied": touched})
        return
    screen.out.print(f"{touched} records of case {case} were emptied." if touched else f"The store holds nothing of case {case}.")
    screen.out.print("The case's own file is yours to edit: remove it there too.")


def check_store(config: Path, *, as_json: bool) -> None:
    with _open(config, "1") as bench:
        counts, lost, integrity = bench.store.counts(), bench.store.orphans(), bench.store.integrity()
    if as_json:
        screen.document({"counts": counts, "sent_and_never_answered": [list(orphan) for orphan in lost], "integrity": integrity})
    else:
        screen.pairs({name: str(count) for name, count in counts.items()})
        screen.out.print(f"{len(lost)} requests were sent and never answered; they may have been paid for. `fairmark run` asks again.")
        screen.out.print(f"The file: {integrity}.")
    if integrity != "ok":
        raise SystemExit(1)


@contextmanager
def _on_cluster(address: str, config: Path, wave: str) -> Iterator[Workbench]:
    """The study on the bench, its models and applications asked from a cluster that is let go in the end."""
    from fairmark.providers.ray import Cluster

    plain = _open(config, wave)
    with (
        Cluster.at(address, env=plain.env, folder=plain.study.folder, concurrency=plain.study.concurrency) as cluster,
        Workbench(plain.study, wave=wave, env=plain.env, connect=cluster.connect) as bench,
    ):
        yield bench


def _open(config: Path, wave: str, *, keep: bool = True) -> Workbench:
    """The study on the bench. Without a store yet, commands that only read do not make one."""
    bench = Workbench(config, wave=wave)
    if not keep and bench.path is not None and not bench.path.exists():
        return Workbench(bench.study, memory=True, wave=wave, env=bench.env)
    return bench
