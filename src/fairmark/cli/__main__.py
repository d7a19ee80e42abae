"""`python -m fairmark.cli` is `fairmark`."""

from fairmark.cli.app import main

main()
