-- The seed's table, for the rivals; Ordertrail makes its own, with more columns and two more indexes.
CREATE TYPE order_status_enum AS ENUM
    ('INITIATED', 'COMPLETED', 'EXCHANGE_CREATION_FAILED', 'DATABASE_PERSISTENCE_FAILED');
CREATE TABLE orders (
    id          varchar           NOT NULL,
    created_at  timestamp         DEFAULT now(),
    type        varchar           NOT NULL,
    side        varchar           NOT NULL,
    instrument  varchar           NOT NULL,
    limit_price double precision,
    quantity    integer           NOT NULL,
    status      order_status_enum NOT NULL,
    PRIMARY KEY (id, status)
);
