"""`python -m fairmark.cli` is `fairmark`."""

from fairmark.cli import main

main()
