# syntax=docker/dockerfile:1
# One image for both: `serve` (the REST API, the default) and `worker`.
ARG PYTHON_VERSION=3.11.9

FROM python:${PYTHON_VERSION}-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/bridge
COPY requirements-http.lock ./
RUN /opt/bridge/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-http.lock
COPY pyproject.toml README.md LICENSE ./
COPY proto ./proto
COPY python_bridge ./python_bridge
# The lock holds what builds the package, so that nothing is fetched that has no hash.
RUN /opt/bridge/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:${PYTHON_VERSION}-slim-bookworm AS run
RUN groupadd --gid 10001 bridge \
    && useradd --uid 10001 --gid bridge --no-create-home --home-dir /var/lib/bridge --shell /usr/sbin/nologin bridge \
    && install -d -o bridge -g bridge -m 0700 /var/lib/bridge \
    && install -d /programs
COPY --from=build /opt/bridge /opt/bridge
ENV PATH=/opt/bridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/var/lib/bridge \
    XDG_STATE_HOME=/var/lib/bridge \
    API_HOST=0.0.0.0 \
    API_PORT=8000 \
    DSPEX_PROGRAMS=/programs
USER 10001:10001
WORKDIR /var/lib/bridge
VOLUME ["/var/lib/bridge"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"API_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["python-bridge"]
CMD ["serve"]
