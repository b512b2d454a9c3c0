# One recipe for all services: docker build --build-arg SERVICE=qa -t docqa-qa .
FROM python:3.13-slim AS build
ARG SERVICE
ENV UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=/opt/docqa
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock ./
COPY libs libs
COPY services services
COPY tools tools
# Only what this service uses, and nothing that builds or edits.
RUN uv sync --frozen --no-dev --no-editable --package "docqa-${SERVICE}"

FROM python:3.13-slim
ARG SERVICE
ENV PATH=/opt/docqa/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DOCQA_HOST=0.0.0.0 DOCQA_PORT=8000 SERVICE=${SERVICE}
RUN useradd --system --uid 10001 --no-create-home docqa
COPY --from=build /opt/docqa /opt/docqa
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=6 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
CMD ["sh", "-c", "exec python -m ${SERVICE}.main"]
