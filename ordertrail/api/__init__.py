"""The door for programs: HTTP in, HTTP out."""
