"""The statements of the operator's switch; every one is a transaction of its own."""

# Every second, in every process that may place: whether placing is halted.
READ_HALT = "SELECT is_on FROM switches WHERE name = 'halt'"

# `ordertrail halt` and `ordertrail resume`.
# $1 whether placing is halted from now on; $2 who says so; $3 why, or null.
SET_HALT = """
INSERT INTO switches (name, is_on, changed_by, reason) VALUES ('halt', $1, $2, $3)
ON CONFLICT (name) DO UPDATE
   SET is_on = excluded.is_on, changed_at = clock_timestamp(), changed_by = excluded.changed_by,
       reason = excluded.reason
"""
