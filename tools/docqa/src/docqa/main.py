"""The `docqa` command. Each subcommand loads what it needs when it runs, so that `docqa --help` is quick."""

import sys
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from docqa.telling import console, plainly

LARGEST_ID = 2**63 - 1  # of a bigint

commands = typer.Typer(
    name="docqa",
    help="Questions to your documents, answered with the page they come from.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Data = Annotated[
    Path, typer.Option("--data", envvar="DOCQA_DATA", help="Folder that keeps everything.", show_default=".docqa")
]
Port = Annotated[int, typer.Option("--port", envvar="DOCQA_PORT", min=1, max=65535, help="Public port.")]


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        sys.stdout.write(f"docqa {version('docqa')}\n")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Tell it and end.")]


@commands.callback()
def _begin(_: Version = False) -> None:
    from docqa.environment import adopt_file

    adopt_file()


@commands.command()
def up(data: Data = Path(".docqa"), port: Port = 8000) -> None:
    """Run the whole of docqa on this machine, until Ctrl-C."""
    from docqa import up as running

    running.run(data, port, console())


@commands.command()
def login(
    email: Annotated[str | None, typer.Option(help="Asked for if left out.")] = None,
    url: Annotated[str | None, typer.Option(envvar="DOCQA_URL", help="Where docqa runs.")] = None,
) -> None:
    """Log in, or make an account if you are new; the commands below then act as you."""
    from docqa.logging_in import log_in

    log_in(url.rstrip("/") if url else None, email, console())


@commands.command()
def ask(
    question: str,
    session: Annotated[UUID | None, typer.Option(help="Go on with this chat.")] = None,
    document: Annotated[list[UUID] | None, typer.Option(help="Ask these documents only (repeat it).")] = None,
    top_k: Annotated[int | None, typer.Option(min=1, max=50, help="How many passages to look at.")] = None,
) -> None:
    """Ask your documents; the answer names its pages."""
    from docqa import asking

    asking.ask(question, session=session, documents=document or [], top_k=top_k, console=console())


@commands.command()
def upload(
    files: list[Path],
    wait: Annotated[bool, typer.Option(help="Follow them until they can be asked about.")] = True,
) -> None:
    """Send files, and follow them until they can be asked about."""
    from docqa import uploading

    uploading.upload(files, wait=wait, console=console())


@commands.command()
def status(
    only: Annotated[list[str] | None, typer.Option(help="A status, for example failed (repeat it).")] = None,
) -> None:
    """List your documents and how far they are."""
    from docqa import listing

    listing.status(console(), only=only or [])


@commands.command()
def reindex(
    model: Annotated[str | None, typer.Option(help="Embed anew with this model; by default the present one.")] = None,
    dimension: Annotated[
        int | None, typer.Option(min=1, help="Numbers a vector, if the model can give several or is not known.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Call off what is being built.")] = False,
    embedder_url: Annotated[str | None, typer.Option(help="The embedder, where `docqa up` does not run it.")] = None,
    data: Data = Path(".docqa"),
) -> None:
    """Build the index anew beside the one that answers, then answer from the new one."""
    from docqa import reindexing

    if cancel and (model is not None or dimension is not None):
        raise typer.BadParameter("--cancel goes alone: what is being built is called off, whatever its model.")
    with reindexing.embedder(embedder_url, data) as http:
        if cancel:
            reindexing.call_off(http, console())
        else:
            reindexing.reindex(http, model, dimension=dimension, console=console())


@commands.command()
def compact(data: Data = Path(".docqa")) -> None:
    """With docqa stopped: remove the files in which deleted vectors linger."""
    from docqa import compacting

    compacting.compact(data, console())


letters = typer.Typer(no_args_is_help=True, help="What a service could not read, handle or send.")
commands.add_typer(letters, name="dead-letters")
Services = Annotated[list[str] | None, typer.Option("--service", help="This service only (repeat it).")]


@letters.command("list")
def list_letters(service: Services = None, data: Data = Path(".docqa")) -> None:
    """Show them, the latest last."""
    from docqa import dead_letters

    dead_letters.show(service or [], data, console())


@letters.command("replay")
def replay_letters(
    service: Services = None,
    number: Annotated[int | None, typer.Option("--id", min=1, max=LARGEST_ID, help="This one only.")] = None,
    reason: Annotated[str | None, typer.Option(help="Those of this reason only.")] = None,
    data: Data = Path(".docqa"),
) -> None:
    """Have them handled again. Each takes effect once at most; what fails again stays a dead letter."""
    from docqa import dead_letters

    dead_letters.replay(service or [], data, console(), number=number, reason=reason)


def app() -> None:
    """The entry point: errors that a person can act on are told in plain words, with a non-zero exit."""
    with plainly():
        commands()


if __name__ == "__main__":
    app()
