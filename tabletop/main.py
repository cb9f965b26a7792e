"""The command `tabletop`. Importing this module costs nothing, so that even an early Ctrl-C ends in one line."""

import sys


def main() -> None:
    """Run the command line; this is what the installed program calls."""
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
