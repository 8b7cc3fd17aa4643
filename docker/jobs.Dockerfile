# The jobs: ./spark-submit.sh with Java, Spark, Delta Lake and the JDBC drivers. Build from the project folder:
#   docker build -f docker/jobs.Dockerfile -t ctr-jobs .
#   docker run --rm -v /srv/ctr:/data -e CTR_EVENTS=/data/events -e CTR_LAKE=/data/lake \
#     -e CTR_PURCHASES_URL=jdbc:sqlite:/data/purchases.db ctr-jobs daily
# The user of the container, 10001, has to be able to write /srv/ctr/lake (and to read the rest): chown 10001 /srv/ctr/lake

FROM debian:bookworm-slim AS build
WORKDIR /app
# Debian keeps one version of a package in a release, with security fixes: a pinned one would soon be gone.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv openjdk-17-jre-headless \
 && rm -rf /var/lib/apt/lists/*
COPY requirements/jobs.txt requirements/jobs.txt
RUN python3 -m venv .venv \
 && .venv/bin/pip install --no-cache-dir --disable-pip-version-check --use-pep517 --require-hashes -r requirements/jobs.txt
COPY scripts scripts
COPY conf conf
RUN scripts/fetch-jars.sh
COPY spark-submit.sh spark-submit.sh
COPY common common
COPY jobs jobs
RUN scripts/archive-classes.sh

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 openjdk-17-jre-headless \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home --shell /usr/sbin/nologin ctr \
 && install -d -o ctr -g ctr /data
WORKDIR /app
COPY --from=build /app/.venv .venv
COPY --from=build /app/.cache .cache
COPY spark-submit.sh spark-submit.sh
COPY scripts scripts
COPY conf conf
COPY common common
COPY jobs jobs
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
ENTRYPOINT ["/app/spark-submit.sh"]
CMD ["--help"]
