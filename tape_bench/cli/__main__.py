"""`python -m tape_bench.cli` is `tape-bench`."""

from tape_bench.cli import main

main()
