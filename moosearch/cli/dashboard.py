"""Dashboard: Optuna's, and the report, by a server on this machine."""

import ipaddress
from typing import Annotated

import typer

from moosearch.cli.app import FolderArgument, app, err, out


@app.command()
def dashboard(
    folder: FolderArgument,
    port: Annotated[
        int, typer.Option("--port", help="Where to listen; 0 for any that is free.", min=0, max=65535)
    ] = 8080,
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; 0.0.0.0 lets other machines in.")
    ] = "127.0.0.1",
) -> None:
    """Show a campaign in Optuna's dashboard, with notes and pictures, and its report at /report."""
    from moosearch.report.dashboard import serve

    if not _is_loopback(host):
        err.print(f"whoever reaches {host} can read this campaign: there is no password", soft_wrap=True)

    def ready(address: str) -> None:
        out.print(f"dashboard at {address}, report at {address}report; Ctrl-C ends it", soft_wrap=True)

    try:
        serve(folder, host, port, ready)
    except KeyboardInterrupt:  # how one stops looking
        return


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
