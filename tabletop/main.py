"""The command `tabletop`. Importing this module costs nothing, so that even an early Ctrl-C ends in one line."""

import io
import sys


def main() -> None:
    """Run the command line; this is what the installed program calls."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that knows only ASCII still shows every name, with escapes.
            stream.reconfigure(errors="backslashreplace")
    try:
        from cluster.processes import raise_descriptor_limit
        from tabletop.application import app

        raise_descriptor_limit()
        app(prog_name="tabletop")
    except KeyboardInterrupt:
        print("tabletop: interrupted", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
