/**
 * @file version.h  What this program is
 */
#ifndef SIPEDGE_VERSION_H
#define SIPEDGE_VERSION_H

const char *version_number(void); /* "0.1.0" */
const char *version_build(void);  /* source revision and build type */

#endif
