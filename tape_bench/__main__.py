"""`python -m tape_bench` is `tape-bench`."""

from tape_bench.cli import main

if __name__ == "__main__":
    main()
