# One recipe for the five services: docker build --build-arg SERVICE=qa --tag docqa-qa .
# It needs BuildKit, which Compose v2 uses by itself; an engine before 23 wants DOCKER_BUILDKIT=1.
FROM python:3.13-slim AS uv
RUN apt-get update && apt-get install --yes --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore uv==0.13.9
ENV UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/docqa
WORKDIR /src

# What is installed depends on these files alone: a change of our code leaves the layer of the dependencies as it is.
FROM uv AS manifests
COPY . .
RUN find . -type f ! -name pyproject.toml ! -name uv.lock -delete && find . -type d -empty -delete

FROM uv AS build
ARG SERVICE
COPY --from=manifests /src .
# Only what this service uses. There is no compiler here: whatever is not a wheel is refused. Some wheels carry symbols for
# a debugger, which are larger than their code.
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-build --no-install-workspace --package "docqa-${SERVICE}" --all-extras \
    && find /opt/docqa -name '*.so*' -type f -exec strip --strip-debug {} +
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable --package "docqa-${SERVICE}" --all-extras

FROM python:3.13-slim
ARG SERVICE
LABEL org.opencontainers.image.title="docqa-${SERVICE}" org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --user-group --home-dir /tmp --no-create-home --shell /usr/sbin/nologin docqa
COPY --from=build /opt/docqa /opt/docqa
# MALLOC_ARENA_MAX: glibc keeps an arena per thread and core, which doubles what an idle process holds.
ENV PATH=/opt/docqa/bin:$PATH SERVICE=${SERVICE} HOME=/tmp \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MALLOC_ARENA_MAX=2 LANGSMITH_TRACING=false ANONYMIZED_TELEMETRY=False \
    DOCQA_HOST=0.0.0.0 DOCQA_GATEWAY_PORT=8000 DOCQA_AUTH_PORT=8000 DOCQA_INGEST_PORT=8000 \
    DOCQA_EMBEDDER_PORT=8000 DOCQA_QA_PORT=8000
USER 10001:10001
EXPOSE 8000
# In bash, for a Python that starts every few seconds in each of the containers costs more than they do when idle.
HEALTHCHECK --interval=5s --timeout=5s --start-period=180s --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8000; printf 'GET /health/ready HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3; read -r _ status _ <&3; [ \"$status\" = 200 ]"]
CMD ["sh", "-c", "exec python -P -m ${SERVICE}.main"]
