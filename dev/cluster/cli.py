"""The local Kubernetes for demos and tests: python3 -m dev.cluster COMMAND, from the repository's root."""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import builder, check, embedded, golang, standalone
from .apiclient import ApiError
from .choice import build_images, chosen, load_images
from .images import images
from .packages import MissingPackagesError
from .shell import CommandError
from .steps import step


def main(arguments: list[str] | None = None) -> int:
    """Run one command. What goes wrong with the machine becomes one message, not a traceback."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["kubectl"]:  # its options are its own, also those before its verb
            _kubectl(words[1:])
        parsed = _parser().parse_args(words)
        parsed.run(parsed)
    except (ApiError, CommandError, MissingPackagesError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m dev.cluster", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    sub = command("build", _build, "build the cluster, the tools and the images, but start nothing")
    sub.add_argument("--tests", action="store_true", help="also the images that only tests need")
    for name, run, text in (
        ("up", _up, "start the cluster, and print its kubeconfig; a healthy one is left alone"),
        ("down", _down, "stop the cluster, and leave nothing behind"),
        ("kubeconfig", _kubeconfig, "print the path of the kubeconfig"),
    ):
        sub = command(name, run, text)
        sub.add_argument(
            "--control-plane-only", action="store_true", help="the cluster without nodes, for integration tests"
        )
    command("status", _status, "report whether the cluster is healthy")
    load = command("load", _load, "load images onto every node, from the builder's store or from archives")
    load.add_argument("images", nargs="+", metavar="IMAGE")
    sub = command("images", _images, "build and load the project's images, and print their names")
    sub.add_argument("--print", action="store_true", dest="only_print", help="print the names and build nothing")
    sub.add_argument("--tests", action="store_true", help="also the images that only tests need")
    sub = command("tools", _tools, "build kubectl, helm and versitygw, and print where they are")
    sub.add_argument("--path", action="store_true", help="print their folders as a PATH")
    sub = command("files", _files, "build the Dockerfile in a folder, and write the files of its last stage there")
    sub.add_argument("folder", type=Path)
    command("check", lambda _: check.check(chosen()), "test the cluster: pods, Services, DNS, volumes, limits")
    command("kubectl", lambda _: _kubectl([]), "run kubectl against the cluster")
    return parser


def _build(parsed: argparse.Namespace) -> None:
    with ThreadPoolExecutor() as pool:
        images = pool.submit(build_images, tests=parsed.tests)  # downloads, while the programs need the cores
        if chosen() is embedded:
            embedded.build()
        golang.build(*golang.TOOLS)
        images.result()


def _up(parsed: argparse.Namespace) -> None:
    print((standalone if parsed.control_plane_only else chosen()).up())


def _down(parsed: argparse.Namespace) -> None:
    (standalone if parsed.control_plane_only else chosen()).down()


def _kubeconfig(parsed: argparse.Namespace) -> None:
    print((standalone if parsed.control_plane_only else chosen()).kubeconfig())


def _status(_: argparse.Namespace) -> None:
    if found := chosen().problems():
        raise CommandError("\n".join(found))
    print("healthy")


def _load(parsed: argparse.Namespace) -> None:
    cluster = chosen()
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(parsed.images):
            archive = Path(name)
            if not archive.is_file():
                archive = Path(folder) / str(number)
                builder.save(name, archive)
            cluster.load(name, archive)


def _images(parsed: argparse.Namespace) -> None:
    named = {image.role: image.name for image in images(tests=parsed.tests)}
    names = named if parsed.only_print else load_images(chosen(), tests=parsed.tests)
    for role, name in names.items():
        print(role, name)


def _tools(parsed: argparse.Namespace) -> None:
    golang.build(*golang.TOOLS)
    paths = [golang.program(name) for name in golang.TOOLS]
    print(os.pathsep.join(str(path.parent) for path in paths) if parsed.path else "\n".join(map(str, paths)))


def _files(parsed: argparse.Namespace) -> None:
    with step(f"{parsed.folder}: building", "minutes if its base is new"):
        builder.files(parsed.folder, parsed.folder)


def _kubectl(words: list[str]) -> None:
    os.execve(golang.program("kubectl"), ["kubectl", *words], {**os.environ, "KUBECONFIG": str(chosen().kubeconfig())})
