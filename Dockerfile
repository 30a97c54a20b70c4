# Runs the same job as `make repro` on a computer without Python:
#
#   make image                                   CPU (and CUDA, where the host offers a GPU: see below)
#   docker run --rm -v "$PWD/out:/app/mlruns" proxy-nasbench
#
# The runs and their artifacts are then in ./out; put them at mlruns/ of a checkout and say `nasbench relocate` there,
# since MLflow records absolute paths (here below /app). The mounted folder must be writable for user 1000.
#
# The PyTorch wheels of requirements.lock bring their own CUDA libraries, so that `docker run --gpus all` is enough for
# most hosts. Where another base is asked for, give one of Debian or Ubuntu whose Python is 3.11 or newer, or has none:
#
#   make image BASE=nvidia/cuda:13.0.1-base-ubuntu24.04
#
# DVC needs a Git repository. The build context's own .git is used, so that runs carry the real commit. Where there is
# none that works (a source archive, or a linked worktree), the image makes a repository with one commit of its files.
ARG BASE=python:3.11-slim
FROM ${BASE}

LABEL org.opencontainers.image.title="proxy-nasbench" \
      org.opencontainers.image.licenses="Apache-2.0"

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# No versions are pinned: the distribution keeps only the newest, and none of these packages takes part in a result.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates gcc git libc6-dev make \
    && if ! command -v python3 > /dev/null; then \
         apt-get install --yes --no-install-recommends python3 python3-venv; \
       fi \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --owner=1000 --group=1000 /app /home/nasbench

# The user has a number and no entry in /etc/passwd (some bases have given 1000 to a user of theirs); what asks for the
# user's name or home finds them here.
ENV HOME=/home/nasbench \
    USER=nasbench \
    LOGNAME=nasbench \
    MLFLOW_DISABLE_TELEMETRY=true \
    MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false \
    DO_NOT_TRACK=true \
    DVC_NO_ANALYTICS=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

USER 1000:1000
WORKDIR /app

# The packages change seldom and are large, so they are a layer of their own.
COPY --chown=1000:1000 requirements.lock ./
RUN python3 -m venv .venv \
    && .venv/bin/python -m pip install --require-hashes -r requirements.lock

COPY --chown=1000:1000 . ./
RUN if ! git rev-parse --verify --quiet HEAD > /dev/null 2>&1; then \
      rm -rf .git \
      && git init --quiet \
      && git add . \
      && git -c user.name=image -c user.email=image@localhost commit --quiet --message "Files of the image"; \
    fi \
    && make setup

CMD ["make", "repro"]
