-- The statements of the operator's switch; every one is a transaction of its own.
--
-- Made from ordertrail/storage/postgres/halt_statements.py by `make documents`; not written by hand.

-- READ_HALT
-- Sent by every process.
-- Every second, in every process that may place: whether placing is halted.
SELECT action = 'halt' AS is_on FROM operator_actions WHERE action IN ('halt', 'resume') ORDER BY id DESC LIMIT 1;

-- SET_HALT
-- Sent by the operator.
-- `ordertrail halt` and `ordertrail resume`.
-- $1 whether placing is halted from now on; $2 who says so; $3 why, or null.
INSERT INTO operator_actions (action, operator, origin, reason)
VALUES (CASE WHEN $1 THEN 'halt' ELSE 'resume' END, $2, 'cli', $3);
