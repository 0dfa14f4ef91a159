# GPT Desk for a server without GPU, in public mode (docs/public.md): `docker build -t gptdesk .`, then
# `docker run -p 7860:7860 -v gptdesk:/home/desk/data gptdesk`. docs/deploy.md says more.
FROM python:3.12-slim AS packages
WORKDIR /build
COPY constraints.txt requirements.txt ./
RUN python -m venv /opt/desk \
    && /opt/desk/bin/pip install --no-cache-dir -c constraints.txt -r requirements.txt

FROM python:3.12-slim
RUN useradd --create-home --uid 1000 desk \
    && install -d -o desk -g desk /home/desk/data
COPY --from=packages /opt/desk /opt/desk
WORKDIR /opt/gptdesk
COPY samplers ./samplers
COPY models ./models
COPY gptdesk ./gptdesk
USER 1000
# code that is compiled for this processor lies in the volume, too, so that it is there at the next start
ENV PATH=/opt/desk/bin:$PATH \
    GPTDESK_HOME=/home/desk/data \
    XDG_CACHE_HOME=/home/desk/data/.cache
VOLUME /home/desk/data
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/health', timeout=4)"]
STOPSIGNAL SIGINT
CMD ["python", "-m", "gptdesk", "--host", "0.0.0.0", "--port", "7860", "--no-browser"]
