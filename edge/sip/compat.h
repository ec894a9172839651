/**
 * @file compat.h  Every difference between the versions of libre that the code builds against
 *
 * Debian 12 has libre 1.1.0, Debian 13 has 2.0.1. LIBRE_MAJOR comes from the build (no header tells).
 */
#ifndef SIPEDGE_SIP_COMPAT_H
#define SIPEDGE_SIP_COMPAT_H

#include <re.h>

#endif
