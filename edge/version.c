/**
 * @file version.c  What this program is
 */
#include "edge/version.h"

const char *version_number(void)
{
	return SIPEDGE_VERSION;
}

const char *version_build(void)
{
	return SIPEDGE_REVISION " " SIPEDGE_BUILD_TYPE;
}
