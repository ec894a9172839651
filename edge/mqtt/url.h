/**
 * @file url.h  The address of a broker
 *
 * Pure. Only what Paho needs to be told; credentials never stand in a URL, since URLs are logged.
 */
#ifndef SIPEDGE_MQTT_URL_H
#define SIPEDGE_MQTT_URL_H

#include <stdbool.h>

enum broker_scheme {
	BROKER_TCP, /* mqtt:// */
	BROKER_TLS, /* mqtts:// */
	BROKER_WS,
	BROKER_WSS,
	BROKER_SCHEME_COUNT,
};

enum { BROKER_URL_MAX = 512 };

bool broker_scheme_is_tls(enum broker_scheme scheme);

/* [mqtt|mqtts|ws|wss]://host[:port][/path, ws and wss only]. urip: new string (mem) in Paho's words with the port always written.
   EINVAL: *whyp is a static sentence for a person. urip, schemep and whyp may be NULL. */
int broker_url_parse(char **urip, enum broker_scheme *schemep, const char *url, const char **whyp);

#endif
