"""The simulated exchange inside this process; nothing else of ours imports it."""
