"""What is written is told to whoever watches: one reader of the event log a process, any number of readers of it."""
