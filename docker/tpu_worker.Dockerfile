# The image in which the Trainer runs on TPU VMs. docs/images.md says how to build it.

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
COPY pyproject.toml ./
COPY tpu_worker/pyproject.toml tpu_worker/uv.lock tpu_worker/
# Without the product, so that a change of its code leaves the 3 GB of packages, and their layer, alone.
RUN uv sync --frozen --no-dev --no-install-package recspan --project tpu_worker


FROM environment AS product
WORKDIR /opt/recspan/source
COPY pyproject.toml setup.py README.md LICENSE ./
COPY schema schema
COPY trainer_module trainer_module
COPY components components
COPY pipeline pipeline
RUN uv pip install --python /opt/recspan/environment --no-deps --target /opt/recspan/product .
# Beside the packages, where `recspan doctor` looks for the versions that should be installed.
COPY tpu_worker/uv.lock /opt/recspan/product/


FROM python
ARG REVISION=unknown
LABEL org.opencontainers.image.title="recspan-tpu-worker" \
      org.opencontainers.image.description="Trainer of the Recspan pipeline on TensorFlow for TPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
ENV PATH=/opt/recspan/environment/bin:/opt/recspan/product/bin:$PATH \
    PYTHONPATH=/opt/recspan/product \
    PYTHONUNBUFFERED=1 \
    TF_USE_LEGACY_KERAS=1
COPY --from=environment /opt/recspan/environment /opt/recspan/environment
COPY --from=product /opt/recspan/product /opt/recspan/product
# The user is root: the TPU's device files (/dev/accel*, /dev/vfio/*) are root's on a TPU VM, and Cloud TPU's
# documentation starts containers privileged.
WORKDIR /root
# The machine that builds has no TPU, whose library would wait for the cloud's metadata server.
RUN TPU_SKIP_MDS_QUERY=1 recspan doctor
# Later checks would take the TPU, which serves one process at a time, from the training.
HEALTHCHECK NONE
