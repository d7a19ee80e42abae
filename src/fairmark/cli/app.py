"""The command line: `fairmark COMMAND`. Each command does one step and says what to do next."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from fairmark import __version__

app = typer.Typer(
    name="fairmark",
    help="Assess LLM systems the way good teachers mark work and good social scientists test a hypothesis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
store_app = typer.Typer(help="Look after the store.", no_args_is_help=True)
app.add_typer(store_app, name="store")
export_app = typer.Typer(help="Give out what the store holds.", no_args_is_help=True)
app.add_typer(export_app, name="export")

Config = Annotated[Path, typer.Option("--config", "-c", help="The study: its folder or its study.yaml.", show_default="this folder")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; all else on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
Events = Annotated[bool, typer.Option("--events", help="Progress as JSON lines on stderr.")]
Wave = Annotated[str, typer.Option("--wave", help="Name of the round of asking; a new name asks everything anew.")]
HERE = Path()
INTERRUPTED = 130  # exit code after Ctrl-C, which Typer gives before we hear of it


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fairmark {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the study's files and its store go.")] = Path("fairmark-demo"),
    recorded: Annotated[bool, typer.Option("--recorded", help="Replay the shipped recording; needs no model.")] = False,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the report when it is done.")] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    events: Events = False,
) -> None:
    """Run a complete study on a language model on this machine, without any key."""
    from fairmark.cli import commands

    commands.demo(folder, recorded=recorded, show=show, as_json=as_json, quiet=quiet, events=events)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="A new or empty folder.")], as_json: AsJson = False) -> None:
    """Write a study that runs: study.yaml, rubric.yaml, cases.jsonl, prompts/."""
    from fairmark.cli import commands

    commands.init(folder, as_json=as_json)


@app.command()
def check(config: Config = HERE, as_json: AsJson = False) -> None:
    """Validate all files of a study without running it."""
    from fairmark.cli import commands

    commands.check(config, as_json=as_json)


@app.command()
def plan(config: Config = HERE, wave: Wave = "1", as_json: AsJson = False) -> None:
    """Count the calls, price them, say who is sent what and what so many cases can show."""
    from fairmark.cli import commands

    commands.plan(config, wave=wave, as_json=as_json)


@app.command()
def run(
    config: Config = HERE,
    wave: Wave = "1",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Ask again where asking failed for good.")] = False,
    max_calls: Annotated[int | None, typer.Option("--max-calls", min=0, help="Send at most so many requests.")] = None,
    max_usd: Annotated[float | None, typer.Option("--max-usd", min=0.0, help="Spend at most so much.")] = None,
    on: Annotated[str | None, typer.Option("--on", help="Ask from a Ray cluster: ray, or ray://host:port.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    events: Events = False,
) -> None:
    """Have the systems answer and the graders mark. Resumes by itself; nothing is asked twice."""
    from fairmark.cli import commands

    commands.run(
        config,
        wave=wave,
        retry_failed=retry_failed,
        max_calls=max_calls,
        max_usd=max_usd,
        on=on,
        as_json=as_json,
        quiet=quiet,
        events=events,
    )


@app.command()
def serve(
    config: Config = HERE,
    wave: Wave = "1",
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; anything but this machine needs --allow-remote.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8765,
    allow_remote: Annotated[bool, typer.Option("--allow-remote", help="Let other machines in, by the links of the people named.")] = False,
    name: Annotated[list[str] | None, typer.Option("--name", help="A host name that people will use for this machine.")] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the owner's page in a browser.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let people mark in the browser, blind. Gives out what is still to mark and prints a link for everybody."""
    from fairmark.cli import commands

    commands.serve(config, wave=wave, host=host, port=port, allow_remote=allow_remote, names=name or [], show=show, as_json=as_json)


@app.command()
def calibrate(
    config: Config = HERE,
    wave: Wave = "1",
    on: Annotated[str, typer.Option("--on", help="Part of the cases, where `tuning` sets some apart: test, or dev while tuning.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Say how far each grader's marks are borne out, and what to mark next."""
    from fairmark.cli import commands

    commands.calibrate(config, wave=wave, on=on, as_json=as_json)


@app.command()
def audit(
    config: Config = HERE,
    wave: Wave = "1",
    grader: Annotated[str | None, typer.Option("--grader", help="Only this LLM grader.")] = None,
    criterion: Annotated[str | None, typer.Option("--criterion", help="Only this criterion.")] = None,
    only: Annotated[str | None, typer.Option("--only", help="Only these experiments: order,length,injection and so on.")] = None,
    cases: Annotated[int, typer.Option("--cases", min=1, help="Try each experiment on so many cases.")] = 40,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be asked, and ask nothing.")] = False,
    max_calls: Annotated[int | None, typer.Option("--max-calls", min=0, help="Send at most so many requests.")] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    events: Events = False,
) -> None:
    """Try by experiments what should not move an LLM grader's marks: place, length, format, names, injected orders."""
    from fairmark.cli import commands

    commands.audit(
        config,
        wave=wave,
        grader=grader,
        criterion=criterion,
        only=only,
        cases=cases,
        plan=plan,
        max_calls=max_calls,
        as_json=as_json,
        quiet=quiet,
        events=events,
    )


@app.command()
def analyse(
    table: Annotated[Path | None, typer.Argument(help="A bare table of marks (CSV or JSONL); without it, the study is analysed.")] = None,
    config: Config = HERE,
    wave: Wave = "1",
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Say what a column is: --column case=doc_id --column label=score")
    ] = None,
    better: Annotated[str | None, typer.Option("--better", help="Bare table: the system expected to be better.")] = None,
    than: Annotated[str | None, typer.Option("--than", help="Bare table: the system it is compared with.")] = None,
    by: Annotated[float, typer.Option("--by", help="Bare table: by at least this much (a share of the scale).")] = 0.0,
    on: Annotated[str | None, typer.Option("--on", help="Bare table: score, criterion, or criterion>=level.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write a report (.html, .md or .json).")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what the evidence supports: hypotheses, groups, cost, what was not tested."""
    from fairmark.cli import commands

    commands.analyse(table, config, wave=wave, column=column or [], better=better, than=than, by=by, on=on, out=out, as_json=as_json)


@app.command()
def report(
    out: Annotated[
        Path | None, typer.Argument(help="File to write; .html, .md or .json.", show_default="report.html in the study's folder")
    ] = None,
    config: Config = HERE,
    wave: Wave = "1",
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open it when it is written.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the report: the plain page first, the evidence behind it."""
    from fairmark.cli import commands

    commands.report(out, config, wave=wave, show=show, as_json=as_json)


@app.command()
def verify(
    what: Annotated[
        Path | None, typer.Argument(help="A store, or a report (.json or .html) of the study.", show_default="the study's store")
    ] = None,
    config: Config = HERE,
    as_json: AsJson = False,
) -> None:
    """Prove that nothing in the store was changed, and that a report rests on it."""
    from fairmark.cli import verifying

    verifying.verify(what, config, as_json=as_json)


@app.command()
def gate(config: Config = HERE, wave: Wave = "1", as_json: AsJson = False) -> None:
    """For CI: exit 0 if the primary hypotheses are supported, 100 if one is refuted, 101 if one is undecided."""
    from fairmark.cli import commands

    commands.gate(config, wave=wave, as_json=as_json)


@app.command()
def selfcheck(
    file: Annotated[Path | None, typer.Argument(help="A file of checks.", show_default="the shipped reference values")] = None,
    as_json: AsJson = False,
) -> None:
    """Verify fairmark's arithmetic on this machine against published values."""
    from fairmark.cli import commands

    commands.selfcheck(file, as_json=as_json)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what this machine has: model, keys by name, cache, versions."""
    from fairmark.cli import commands

    commands.doctor(as_json=as_json)


@export_app.command("marks")
def export_marks(
    file: Annotated[Path, typer.Argument(help="CSV file to write.")], config: Config = HERE, wave: Wave = "1", as_json: AsJson = False
) -> None:
    """Write people's marks as recorded marks, to keep beside the study."""
    from fairmark.cli import commands

    commands.export_marks(file, config, wave=wave, as_json=as_json)


@store_app.command("forget")
def store_forget(
    case: Annotated[str, typer.Argument(help="Id of the case whose texts are removed.")],
    config: Config = HERE,
    as_json: AsJson = False,
) -> None:
    """Remove a case's texts from the store for good. The record that something stood there stays."""
    from fairmark.cli import commands

    commands.forget(case, config, as_json=as_json)


@store_app.command("check")
def store_check(config: Config = HERE, as_json: AsJson = False) -> None:
    """Count what the store holds, name what was sent and never came back, and verify the file."""
    from fairmark.cli import commands

    commands.check_store(config, as_json=as_json)


def main() -> None:
    """The `fairmark` program: errors become plain words and exit codes, and only our bugs show a traceback."""
    from fairmark.errors import FairmarkError

    if "fairmark.cli.commands" not in sys.modules:
        gc.disable()  # until they are imported; they stay, and looking through them for garbage takes an eighth of the start
    try:
        app()
    except FairmarkError as error:
        from fairmark.cli.screen import show_error

        show_error(error, as_json="--json" in sys.argv, as_event="--events" in sys.argv)
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, SystemExit) as ended:
        if isinstance(ended, SystemExit) and ended.code != INTERRUPTED:
            raise
        from fairmark.cli.screen import show_stop

        show_stop(as_event="--events" in sys.argv)
        raise SystemExit(INTERRUPTED) from None
    except BrokenPipeError:
        # the reader of a pipe has gone, as with `| head`; silence the flush at exit too
        sys.stdout = open("/dev/null", "w") if sys.platform != "win32" else sys.stdout  # noqa: SIM115
        raise SystemExit(1) from None
