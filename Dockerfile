# The agent in one small image: docker build -t sipedge .
# Run it with a read-only root: docker run --read-only -v sipedge:/var/lib/sipedge -e SIPEDGE_BROKER=mqtts://… -e SIPEDGE_NODE=… sipedge
# What it runs are the two scripts that a developer runs, too.
ARG SUITE=bookworm

FROM debian:${SUITE}-slim AS build
COPY provisioning/install-packages /src/provisioning/
RUN /src/provisioning/install-packages build
COPY . /src
RUN /src/provisioning/build --prefix /usr --destdir /out --strip

FROM debian:${SUITE}-slim
COPY provisioning/install-packages /tmp/
RUN /tmp/install-packages run && rm -rf /tmp/install-packages /var/lib/apt/lists/* /var/cache/apt/* \
	&& useradd --uid 10001 --no-create-home --home-dir /var/lib/sipedge --shell /usr/sbin/nologin sipedge \
	&& install -d -o sipedge -g sipedge -m 0700 /var/lib/sipedge
COPY --from=build /out/usr /usr
USER sipedge
ENV SIPEDGE_STATE_DIR=/var/lib/sipedge
VOLUME /var/lib/sipedge
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["sipedge", "health", "--state-dir", "/var/lib/sipedge"]
ENTRYPOINT ["sipedge"]
CMD ["run"]
