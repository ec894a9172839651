/**
 * @file topic.h  Topics of a node, and broker URLs
 */
#ifndef SIPEDGE_SIPEDGECTL_TOPIC_H
#define SIPEDGE_SIPEDGECTL_TOPIC_H

#include <stdbool.h>
#include <stddef.h>

enum {
	TOPIC_LEVEL_MAX = 64,
	TOPIC_PREFIX_MAX = 256,
	TOPIC_MAX = TOPIC_PREFIX_MAX + 4 * (TOPIC_LEVEL_MAX + 1) + 16,
};

/* The levels of <prefix>/<node>/result/<account>/<variable>. */
struct topic_result {
	char node[TOPIC_LEVEL_MAX + 1];
	char account[TOPIC_LEVEL_MAX + 1];
	char variable[TOPIC_LEVEL_MAX + 1];
};

bool topic_level_is_valid(const char *level); /* [A-Za-z0-9_-]{1,64}, no leading '_' */
bool topic_prefix_is_valid(const char *prefix);
bool topic_url_is_valid(const char *url);

/* <prefix>/<node>/<rest> */
void topic_format(char topic[TOPIC_MAX], const char *prefix, const char *node, const char *rest);

/* False: not the topic of a result. */
bool topic_parse_result(struct topic_result *result, const char *prefix, const char *topic);

/* As Paho wants it: tcp://host:port, ssl://, ws://, wss://. The URL is valid. */
void topic_paho_url(char *buf, size_t size, const char *url);
bool topic_url_is_tls(const char *url);

#endif
