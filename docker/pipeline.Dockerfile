# The image in which the components of the pipeline run. docs/images.md says how to build it, and its target `dataflow`.

# Two of TFX's packages need glibc 2.39, and TFX Python 3.11. Debian 13 has glibc 2.41; on an older base `uv sync` fails,
# for it finds no wheels.
FROM python:3.11-slim-trixie AS python


FROM python AS environment
ENV UV_PROJECT_ENVIRONMENT=/opt/recspan/environment \
    UV_PYTHON=python3.11 \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_NO_CACHE=1
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /opt/recspan/locked
COPY pyproject.toml uv.lock ./
# Without the product, so that a change of its code leaves the 3 GB of packages, and their layer, alone.
RUN uv sync --frozen --no-dev --no-install-project


FROM environment AS product
WORKDIR /opt/recspan/source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY schema schema
COPY trainer_module trainer_module
COPY components components
COPY pipeline pipeline
RUN uv pip install --python /opt/recspan/environment --no-deps --target /opt/recspan/product .
# Beside the packages, where `recspan doctor` looks for the versions that should be installed.
COPY uv.lock /opt/recspan/product/


FROM python AS components
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recspan-pipeline" \
      org.opencontainers.image.description="Components of the Recspan pipeline: TFX on TensorFlow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
# Every process finds the product, however it is started: `python -m tfx...` by Vertex AI, `recspan` by people, Beam's
# workers. Keras 2 must be selected before TensorFlow is first imported, whoever imports it.
ENV PATH=/opt/recspan/environment/bin:/opt/recspan/product/bin:$PATH \
    PYTHONPATH=/opt/recspan/product \
    PYTHONUNBUFFERED=1 \
    TF_USE_LEGACY_KERAS=1
COPY --from=environment /opt/recspan/environment /opt/recspan/environment
COPY --from=product /opt/recspan/product /opt/recspan/product
# Components write to the pipeline root, which is a bucket, and to temporary directories.
RUN useradd --create-home --uid 1000 recspan
WORKDIR /home/recspan
# Beam packs it for Dataflow's workers if `beam.setup_file` says source/setup.py, and writes beside it.
COPY --from=product --chown=1000:1000 /opt/recspan/source source
USER 1000
RUN recspan doctor
# An hour apart, for it loads TensorFlow and TFX. Vertex AI looks at exit codes alone and never asks.
HEALTHCHECK --interval=1h --timeout=3m CMD ["recspan", "doctor"]


# For Dataflow's workers (`sdk_container_image`).
FROM components AS dataflow
COPY --from=apache/beam_python3.11_sdk:2.77.0 /opt/apache/beam /opt/apache/beam
# Beam's start script would otherwise make an empty environment and run the worker there.
ENV RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1
# Root, as in Beam's own images: it writes logs and staged files to directories of the worker machine.
# hadolint ignore=DL3002
USER 0
# Beam's start script installs what a job stages with pip, which an environment made by uv lacks.
RUN python -m ensurepip
ENTRYPOINT ["/opt/apache/beam/boot"]


# Last, so that it is what is built if no target is named.
FROM components
