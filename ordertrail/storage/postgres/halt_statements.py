"""The statements of the operator's switch; every one is a transaction of its own."""

# Every second, in every process that may place: whether placing is halted.
READ_HALT = """
SELECT action = 'halt' AS is_on FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1
"""

# `ordertrail halt` and `ordertrail resume`.
# $1 whether placing is halted from now on; $2 who says so; $3 why, or null.
SET_HALT = """
INSERT INTO operator_actions (action, operator, origin, reason)
VALUES (CASE WHEN $1 THEN 'halt' ELSE 'resume' END, $2, 'cli', $3)
"""
