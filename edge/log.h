/**
 * @file log.h  Log lines: one event, `message key=value ...`, on stderr
 *
 * Any thread. A line is written by one write(2), so lines never mix. Log where an error is handled, once; a change of
 * state is notice or warn, the same again debug. Never passwords, digests, SIP bodies or payloads, at any level.
 */
#ifndef SIPEDGE_LOG_H
#define SIPEDGE_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_DEBUG,
	LOG_LEVEL_INFO,
	LOG_LEVEL_NOTICE,
	LOG_LEVEL_WARN,
	LOG_LEVEL_ERROR,
};

/* Returns false and changes nothing when the name is none of debug, info, notice, warn, error. */
bool log_level_parse(enum log_level *levelp, const char *name);

void log_set_level(enum log_level level); /* default: notice */
void log_set_json(bool json);             /* default: text */

/* standard printf formats, at most 1000 bytes of text; control characters are escaped */
void log_print(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_debug(...) log_print(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_print(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_notice(...) log_print(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_warn(...) log_print(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_print(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
