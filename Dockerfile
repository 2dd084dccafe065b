# One image for every role: `docker run IMAGE bridge | embed | fold | project | web | prepare` (see compose.yaml).
FROM python:3.11.14-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DATA_DIR=/data

# A volume mounted on /data takes over the folder's owner.
RUN useradd --system --uid 10001 --create-home app \
    && install --directory --owner=app --group=app /data

WORKDIR /srv/sploot
COPY requirements-runtime.lock .
RUN pip install --require-hashes -r requirements-runtime.lock

# .dockerignore lets only the packages through. They run from here: their names are not for site-packages.
COPY . .

USER app
EXPOSE 9007 9105
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "app"]
CMD ["--help"]
