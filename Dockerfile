# One image for the worker, the scoring agent and the console; compose.yaml chooses the command.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/baton \
    && /opt/baton/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY schemas schemas
COPY telemetry telemetry
COPY transport transport
COPY artifacts artifacts
COPY worker worker
COPY scoring scoring
COPY experiments experiments
COPY client client
COPY console console
RUN /opt/baton/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 baton && install -d -o baton /models
COPY --from=build /opt/baton /opt/baton
ENV PATH=/opt/baton/bin:$PATH BATON_STORE=/models BATON_READY_FILE=/tmp/ready PYTHONUNBUFFERED=1
USER baton
WORKDIR /home/baton
# The ready file appears when the process serves its partitions.
HEALTHCHECK --interval=2s --timeout=2s --start-period=60s --retries=5 CMD test -f /tmp/ready
CMD ["python", "-m", "worker"]
