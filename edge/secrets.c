/**
 * @file secrets.c  Reads the secret files that documents name
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <re.h>
#include "edge/options.h"
#include "edge/secrets.h"

int secrets_read(char **secretp, const char *name, void *arg)
{
	char folder[PATH_MAX], path[PATH_MAX], joined[PATH_MAX];
	size_t len;

	if (!realpath(arg, folder))
		return errno;
	if (re_snprintf(joined, sizeof(joined), "%s/%s", folder, name) < 0)
		return ENAMETOOLONG;
	if (!realpath(joined, path))
		return errno;

	/* links may lead to other places below (mounted secrets do that), not out */
	len = strlen(folder);
	if (strncmp(path, folder, len) || path[len] != '/')
		return EPERM;

	return options_read_secret(secretp, path);
}
