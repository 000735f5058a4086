"""`unrolled serve`: runs over HTTP."""

import os
from pathlib import Path
from typing import Annotated

import typer

from unrolled.cli.common import Common, path_of, verb
from unrolled.errors import UserError

EXAMPLES = (
    "unrolled serve runs/demo",
    "unrolled serve writer=runs/demo runs/dates --port 9000 --max-streams 100000",
    "unrolled serve runs/demo --port 0 --stream-seconds 3600 --quiet",
)

KEY = "UNROLLED_API_KEY"
SECRET = "UNROLLED_TOKEN_SECRET"


@verb
def serve(
    common: Common,
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN ...", help="Run folders, each served under its own name, or NAME=FOLDER."),
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[
        str, typer.Option(help="The address to listen on. Another than this machine's own lets others in.")
    ] = "127.0.0.1",
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file", parser=path_of, metavar="FILE", help=f"An API key that callers must send; or {KEY}."
        ),
    ] = None,
    max_streams: Annotated[int, typer.Option(min=1, help="Streams that are held at the same time.")] = 16_384,
    stream_seconds: Annotated[float, typer.Option(min=1, help="How long an unused stream is held.")] = 900,
    request_seconds: Annotated[float, typer.Option(min=0.1, help="How long an answer may take.")] = 60,
    batch: Annotated[int, typer.Option(min=1, help="Sequences of all callers in one call; 1: each alone.")] = 128,
    queue: Annotated[int, typer.Option(min=1, help="Sequences that may wait.")] = 4_096,
    max_symbols: Annotated[int, typer.Option(min=1, help="Symbols of one sequence.")] = 20_000,
    max_body: Annotated[int, typer.Option(min=1, help="Bytes of one request.")] = 2**20,
    connections: Annotated[
        int, typer.Option(min=1, help="Requests and WebSockets at the same time; twice as many connections.")
    ] = 2_048,
    per_client: Annotated[
        int | None,
        typer.Option(
            min=1, help="Of these, how many of one address (half of them); behind a proxy as many as --connections."
        ),
    ] = None,
) -> None:
    """Serve runs over HTTP: an API, streams, and a page to try them; described at /docs."""
    common.prepare()
    from unrolled.serving.app import create_app
    from unrolled.serving.guards import hosts_of
    from unrolled.serving.library import Library, named
    from unrolled.serving.limits import Limits
    from unrolled.serving.server import listening
    from unrolled.serving.server import serve as run

    limits = Limits(
        body_bytes=max_body, symbols=max_symbols, queue=queue, request_seconds=request_seconds,
        streams=max_streams, stream_seconds=stream_seconds, batch=batch, connections=connections,
        per_client=max(1, connections // 2) if per_client is None else per_client,
    )  # fmt: skip
    library = Library(named(runs), device=common.place())
    secret = os.environ.get(SECRET)
    key, hosts = _key(key_file), hosts_of(host)
    app = create_app(
        library, limits=limits, key=key, hosts=hosts,
        secret=os.fsencode(secret) if secret else None,
    )  # fmt: skip
    listener = listening(host, port)
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{listener.getsockname()[1]}"
    for name, shelf in library.shelves.items():
        print(f"{name}  {shelf.current.task}  {shelf.folder}")
    if hosts is None and key is None:
        print(f"warning: anyone who reaches {host} can use these models; an API key would shut them out ({KEY})")
    print(f"serving at {address}  (the API: {address}/docs; Ctrl-C ends it)", flush=True)
    run(app, listener, limits, log_level="warning" if common.quiet else "info")


def _key(file: Path | None) -> str | None:
    if file is None:
        return os.environ.get(KEY) or None
    try:
        key = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: the API key cannot be read ({error})") from None
    if not key:
        raise UserError(f"{file} is empty: write the API key into it")
    return key
