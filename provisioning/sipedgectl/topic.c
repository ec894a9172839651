/**
 * @file topic.c  Topics of a node, and broker URLs
 */
#include <stdio.h>
#include <string.h>
#include "provisioning/sipedgectl/topic.h"

static const char level_set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

static const struct scheme {
	const char *name, *paho;
	unsigned port;
	bool tls;
} schemes[] = {
        {"mqtt://", "tcp://", 1883, false},
        {"mqtts://", "ssl://", 8883, true},
        {"ws://", "ws://", 80, false},
        {"wss://", "wss://", 443, true},
};

bool topic_level_is_valid(const char *level)
{
	const size_t n = strspn(level, level_set);

	return n && n <= TOPIC_LEVEL_MAX && !level[n] && level[0] != '_';
}

bool topic_prefix_is_valid(const char *prefix)
{
	if (strlen(prefix) > TOPIC_PREFIX_MAX)
		return false;

	for (const char *p = prefix;; p++) {
		const size_t n = strspn(p, level_set);

		p += n;
		if (!n || (*p && *p != '/'))
			return false;
		if (!*p)
			return true;
	}
}

static const struct scheme *url_scheme(const char *url)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (!strncmp(url, schemes[i].name, strlen(schemes[i].name)))
			return &schemes[i];
	}

	return NULL;
}

/* The port of host[:port][/path]; an IPv6 address stands in brackets. NULL: none. */
static const char *find_port(const char *host)
{
	const char *p = *host == '[' ? strchr(host, ']') : host;
	const size_t n = p ? strcspn(p, ":/") : 0;

	return p && p[n] == ':' ? p + n : NULL;
}

bool topic_url_is_valid(const char *url)
{
	const struct scheme *scheme = url_scheme(url);
	const char *host, *port;
	unsigned n = 0;

	if (!scheme || strlen(url) > 512)
		return false;
	host = url + strlen(scheme->name);
	if (!*host || strchr(":/", *host) || strpbrk(host, "@?# \t"))
		return false;
	if (*host == '[' && !strchr(host, ']'))
		return false;

	port = find_port(host);
	if (!port)
		return true;
	for (port++; *port >= '0' && *port <= '9' && n <= 65535; port++)
		n = n * 10 + (unsigned)(*port - '0');

	return n > 0 && n <= 65535 && (!*port || *port == '/');
}

bool topic_url_is_tls(const char *url)
{
	return url_scheme(url)->tls;
}

void topic_paho_url(char *buf, size_t size, const char *url)
{
	const struct scheme *scheme = url_scheme(url);
	const char *host = url + strlen(scheme->name);
	const size_t n = strcspn(host, "/");

	if (find_port(host))
		snprintf(buf, size, "%s%s", scheme->paho, host);
	else
		snprintf(buf, size, "%s%.*s:%u%s", scheme->paho, (int)n, host, scheme->port, host + n);
}

void topic_format(char topic[TOPIC_MAX], const char *prefix, const char *node, const char *rest)
{
	snprintf(topic, TOPIC_MAX, "%s/%s/%s", prefix, node, rest);
}

static bool take_level(const char **pp, char *level)
{
	const size_t n = strcspn(*pp, "/");

	if (n > TOPIC_LEVEL_MAX)
		return false;
	memcpy(level, *pp, n);
	level[n] = '\0';
	*pp += n;
	if (**pp)
		++*pp;

	return topic_level_is_valid(level);
}

bool topic_parse_result(struct topic_result *result, const char *prefix, const char *topic)
{
	const size_t n = strlen(prefix);
	char kind[TOPIC_LEVEL_MAX + 1];

	if (strncmp(topic, prefix, n) || topic[n] != '/')
		return false;
	topic += n + 1;

	return take_level(&topic, result->node) && take_level(&topic, kind) && !strcmp(kind, "result") &&
	       take_level(&topic, result->account) && take_level(&topic, result->variable) && !*topic;
}
