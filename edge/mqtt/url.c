/**
 * @file url.c  The address of a broker
 */
#include <errno.h>
#include <string.h>
#include <re.h>
#include "edge/mqtt/url.h"

static const struct {
	const char *ours, *pahos;
	const char *port; /* IANA's default */
	bool has_path;
} schemes[BROKER_SCHEME_COUNT] = {
        [BROKER_TCP] = {"mqtt://", "tcp://", "1883", false},
        [BROKER_TLS] = {"mqtts://", "ssl://", "8883", false},
        [BROKER_WS] = {"ws://", "ws://", "80", true},
        [BROKER_WSS] = {"wss://", "wss://", "443", true},
};

struct parts {
	enum broker_scheme scheme;
	struct pl host; /* an IPv6 address with its brackets */
	struct pl port; /* default filled in */
	struct pl path;
};

bool broker_scheme_is_tls(enum broker_scheme scheme)
{
	return scheme == BROKER_TLS || scheme == BROKER_WSS;
}

static bool port_is_valid(const struct pl *port)
{
	unsigned n = 0;

	for (size_t i = 0; i < port->l; i++) {
		if (port->p[i] < '0' || port->p[i] > '9' || i == 5)
			return false;
		n = n * 10 + (unsigned)(port->p[i] - '0');
	}

	return n >= 1 && n <= 65535;
}

static const char *parse_authority(struct parts *parts, const char *p, size_t len)
{
	const char *colon;

	if (memchr(p, '@', len))
		return "a user name or password does not belong into the URL";

	if (len && *p == '[') { /* RFC 3986 3.2.2 */
		const char *end = memchr(p, ']', len);

		if (!end || end == p + 1)
			return "the IPv6 address in brackets is not complete";
		parts->host.l = (size_t)(end + 1 - p);
		if (parts->host.l < len && p[parts->host.l] != ':')
			return "after the bracket only a port may follow";
		colon = parts->host.l < len ? &p[parts->host.l] : NULL;
	} else {
		colon = memchr(p, ':', len);
		parts->host.l = colon ? (size_t)(colon - p) : len;
	}
	parts->host.p = p;
	if (!parts->host.l)
		return "the host is missing";
	pl_set_str(&parts->port, schemes[parts->scheme].port);
	if (!colon)
		return NULL;

	parts->port.p = colon + 1;
	parts->port.l = len - (size_t)(parts->port.p - p);

	return port_is_valid(&parts->port) ? NULL : "the port is not a number from 1 to 65535";
}

static const char *parse(struct parts *parts, const char *url)
{
	size_t len;
	int i;

	if (strlen(url) > BROKER_URL_MAX)
		return "the URL is longer than 512 characters";
	for (const char *p = url; *p; p++) {
		if (*p <= 0x20 || *p == 0x7f || strchr("\"\\?#", *p))
			return "the URL has a character that does not belong into it";
	}
	for (i = 0; i < BROKER_SCHEME_COUNT; i++) {
		if (!strncmp(url, schemes[i].ours, strlen(schemes[i].ours)))
			break;
	}
	if (i == BROKER_SCHEME_COUNT)
		return "the URL does not start with mqtt://, mqtts://, ws:// or wss://";

	parts->scheme = (enum broker_scheme)i;
	url += strlen(schemes[i].ours);
	len = strcspn(url, "/");
	pl_set_str(&parts->path, url + len);
	if (parts->path.l > 1 && !schemes[i].has_path)
		return "a path belongs only to ws:// and wss://";
	if (!schemes[i].has_path)
		parts->path.l = 0;

	return parse_authority(parts, url, len);
}

int broker_url_parse(char **urip, enum broker_scheme *schemep, const char *url, const char **whyp)
{
	struct parts parts;
	const char *why = parse(&parts, url);

	if (why) {
		if (whyp)
			*whyp = why;
		return EINVAL;
	}
	if (schemep)
		*schemep = parts.scheme;
	if (!urip)
		return 0;

	return re_sdprintf(urip, "%s%r:%r%r", schemes[parts.scheme].pahos, &parts.host, &parts.port, &parts.path);
}
