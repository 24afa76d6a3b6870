"""`python -m ordertrail`."""

from ordertrail.cli import main

main()
