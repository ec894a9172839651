/**
 * @file log.c  Log lines on stderr, as text or JSON
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "edge/clock.h"
#include "edge/log.h"

enum {
	TEXT_MAX = 1000,
	LINE_MAX_SIZE = 6 * TEXT_MAX + 128, /* every byte may become \u00XX */
};

static const char *const level_names[] = {"debug", "info", "notice", "warn", "error"};

/* atomic: any thread logs while a SIGHUP changes the level */
static atomic_int threshold = LOG_LEVEL_NOTICE;
static atomic_bool as_json;

bool log_level_parse(enum log_level *levelp, const char *name)
{
	for (int i = LOG_LEVEL_DEBUG; i <= LOG_LEVEL_ERROR; i++) {
		if (!strcmp(name, level_names[i])) {
			*levelp = (enum log_level)i;
			return true;
		}
	}

	return false;
}

void log_set_level(enum log_level level)
{
	atomic_store(&threshold, level);
}

void log_set_json(bool json)
{
	atomic_store(&as_json, json);
}

/* foreign text (a reason phrase, a file name) must not forge a line or drive a terminal */
static size_t escape(char *out, const char *text, bool json)
{
	size_t n = 0;

	for (const unsigned char *p = (const unsigned char *)text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			n += (size_t)sprintf(&out[n], json ? "\\u%04x" : "\\x%02x", *p);
		else if (json && (*p == '"' || *p == '\\'))
			n += (size_t)sprintf(&out[n], "\\%c", *p);
		else
			out[n++] = (char)*p;
	}

	return n;
}

void log_print(enum log_level level, const char *fmt, ...)
{
	char text[TEXT_MAX], line[LINE_MAX_SIZE], stamp[32];
	bool json = atomic_load(&as_json);
	int64_t now_us = clock_unix_us();
	time_t sec = now_us / 1000000;
	struct tm tm;
	va_list ap;
	size_t n;

	if ((int)level < atomic_load(&threshold))
		return;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);

	(void)gmtime_r(&sec, &tm);
	(void)strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);

	n = (size_t)sprintf(line,
	        json ? "{\"time\":\"%s.%03dZ\",\"level\":\"%s\",\"message\":\"" : "%s.%03dZ %s: ", stamp,
	        (int)(now_us / 1000 % 1000), level_names[level]);
	n += escape(&line[n], text, json);
	n += (size_t)sprintf(&line[n], json ? "\"}\n" : "\n");

	if (write(STDERR_FILENO, line, n) < 0)
		return; /* nobody to tell */
}
