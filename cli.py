"""From a checkout, `python cli.py …` is `tape-bench …`."""

from tape_bench.cli import main

main()
