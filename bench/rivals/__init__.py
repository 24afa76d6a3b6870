"""The rivals, each in its best plain form: what a careful engineer would write with that tool, and no more."""
