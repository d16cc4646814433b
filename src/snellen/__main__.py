"""`python -m snellen`."""

from snellen.cli.app import main

main()
