"""``python -m dynvit.describe [--timm | --check]``: print the description, or answer questions line by line."""

from __future__ import annotations

import argparse
import gc
import json

from dynvit.describe import describe, describe_timm


def main() -> None:
    """Run the command line."""
    gc.freeze()  # imported by now; searching it for garbage, above all at the end, takes longer than most answers
    parser = argparse.ArgumentParser(prog="python -m dynvit.describe", description=__doc__)
    parser.add_argument("--timm", action="store_true", help="timm's models instead of this package's")
    parser.add_argument("--check", action="store_true", help="answer questions on stdin, one JSON object per line")
    parser.add_argument("--imports", nargs="+", default=[], metavar="FILE", help="own code: files and modules")
    options = parser.parse_args()
    if options.check:
        from dynvit.describe.server import serve

        serve()
    else:
        print(json.dumps(describe_timm() if options.timm else describe(options.imports), indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
