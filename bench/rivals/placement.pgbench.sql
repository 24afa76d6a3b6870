-- The two rows of one placement, each its own transaction, with no HTTP, no exchange and no Python before them.
-- The id is made where it is inserted and read back with the row: no extra round trip.
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status)
VALUES (uuidv7()::text, 'limit', 'buy', 'AAPL12345678', 150.0, 10, 'INITIATED') RETURNING id \gset
INSERT INTO orders (id, type, side, instrument, limit_price, quantity, status)
VALUES (:id, 'limit', 'buy', 'AAPL12345678', 150.0, 10, 'COMPLETED');
