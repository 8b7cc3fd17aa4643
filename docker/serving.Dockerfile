# The service: no Java, no Spark. Build from the project folder:
#   docker build -f docker/serving.Dockerfile -t ctr-serving .

FROM debian:bookworm-slim AS build
WORKDIR /app
# Debian keeps one version of a package in a release, with security fixes: a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/serving.txt requirements/serving.txt
RUN python3 -m venv .venv \
 && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --use-pep517 --require-hashes -r requirements/serving.txt

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin ctr \
 && install -d -o ctr -g ctr /data /var/cache/ctr
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY conf/ctr.toml conf/ctr.toml
COPY common common
COPY serving serving
# From outside, a container is reached only through an address that is not its loopback. There the service refuses to
# start without keys unless it is told CTR_ALLOW_UNAUTHENTICATED=true, which is for whoever runs the container to say.
# A read-only container needs a volume at /var/cache/ctr: a tmpfs would take its temporary files from the memory.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/var/cache/ctr \
    CTR_REPLICA_FOLDER=/var/cache/ctr \
    CTR_LAKE=/data/lake \
    CTR_HOST=0.0.0.0 \
    CTR_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
  CMD [".venv/bin/python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"CTR_PORT\"]}/health/ready', timeout=4)"]
CMD [".venv/bin/python", "-m", "serving"]
