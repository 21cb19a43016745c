# planner for hosts without Python 3.11: it drives the host's Docker Engine and launches engines beside itself.
# docs/install.md has the line that starts it, and says what it must share with the host.
ARG BASE=python:3.12-slim
FROM ${BASE}

COPY pyproject.toml README.md LICENSE /opt/planner/
COPY planner /opt/planner/planner
COPY search_spaces /opt/planner/search_spaces
RUN python3 -m pip install --no-cache-dir --root-user-action=ignore '/opt/planner[server,hub]'

# Any user may be chosen with --user, so all may write the home, which is empty.
RUN mkdir -m 1777 /home/planner
ENV HOME=/home/planner
USER 1000:1000
ENTRYPOINT ["planner"]
CMD ["--help"]
