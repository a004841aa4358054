# syntax=docker/dockerfile:1
# The service: `docker build -t sql-databricks-bridge .`; with the sandbox in it: `--target sandbox`.
# Packages come from the lock, with hashes; the wheel is built by a locked hatchling.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY deploy/image/build.lock deploy/image/runtime.lock ./
RUN python -m venv /opt/hatch && python -m venv /opt/bridge \
    && /opt/hatch/bin/pip install --require-hashes --only-binary=:all: -r build.lock \
    && /opt/bridge/bin/pip install --no-compile --require-hashes --only-binary=:all: -r runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY config/ config/
COPY queries/ queries/
COPY src/ src/
RUN /opt/hatch/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /build/dist . \
    && /opt/bridge/bin/pip install --no-deps /build/dist/*.whl

# Under 600 MB: without pip and the parts of pyarrow that nothing here loads; bytecode of what the service imports only.
FROM build AS slim
WORKDIR /opt/bridge/lib/python3.11/site-packages/pyarrow
RUN /opt/bridge/bin/pip uninstall --yes pip setuptools \
    && rm -rf tests include src libarrow_flight.so* _flight*.so libarrow_s3.so* _s3fs*.so
WORKDIR /build
RUN find /opt/bridge -name __pycache__ -type d -prune -exec rm -rf {} + \
    && /opt/bridge/bin/python -c "import sql_databricks_bridge.main, sql_databricks_bridge.cli.extract, mssql_python, polars, pyarrow.parquet" \
    && /opt/bridge/bin/bridge --help > /dev/null

# The sandbox's own packages, for trying things: the whole lock, test tools included.
FROM build AS sandbox-build
COPY requirements.lock ./
RUN /opt/bridge/bin/pip install --require-hashes --use-pep517 -r requirements.lock

FROM python:3.11-slim-bookworm AS base
# What Microsoft's driver loads when it connects (its wheel does not bundle them); the base image's tag pins the release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libltdl7 libkrb5-3 libgssapi-krb5-2 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 bridge \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/bridge --shell /usr/sbin/nologin bridge \
    && install -d -o bridge -g bridge -m 0750 /var/lib/bridge /var/spool/bridge \
    && install -d -m 0755 /etc/bridge /etc/bridge/queries /etc/bridge/config /etc/bridge/permissions
# An empty BRIDGE_ENV_FILE: no .env file is read, only the environment.
ENV PATH=/opt/bridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ENVIRONMENT=production \
    LOG_FORMAT=json \
    SERVE_HOST=0.0.0.0 \
    SERVE_PORT=8000 \
    BRIDGE_ENV_FILE= \
    BRIDGE_QUERIES_DIR=/etc/bridge/queries \
    BRIDGE_CONFIG_DIR=/etc/bridge/config \
    BRIDGE_PERMISSIONS_FILE=/etc/bridge/permissions/permissions.yaml \
    BRIDGE_AUDIT_DIR=/var/lib/bridge/audit \
    BRIDGE_SPOOL_DIR=/var/spool/bridge \
    JOB_STORE_URL=sqlite:////var/lib/bridge/jobs.sqlite3
WORKDIR /var/lib/bridge
# Written to, also where the root file system is read-only: job store and audit log, parts on their way.
VOLUME ["/var/lib/bridge", "/var/spool/bridge"]
EXPOSE 8000
STOPSIGNAL SIGTERM
USER 10001:10001
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; c = http.client.HTTPConnection('127.0.0.1', int(os.environ['SERVE_PORT']), timeout=3); c.request('GET', '/health/live'); sys.exit(c.getresponse().status != 200)"]
CMD ["sql-databricks-bridge", "serve"]

FROM base AS sandbox
COPY --from=sandbox-build /opt/bridge /opt/bridge

FROM base AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="SQL-Databricks Bridge" \
      org.opencontainers.image.description="Typed, atomic data movement between SQL Server and Databricks" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY --from=slim /opt/bridge /opt/bridge
