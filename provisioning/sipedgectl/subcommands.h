/**
 * @file subcommands.h  The sub-commands of sipedgectl: one file each
 */
#ifndef SIPEDGE_SIPEDGECTL_SUBCOMMANDS_H
#define SIPEDGE_SIPEDGECTL_SUBCOMMANDS_H

#include "provisioning/sipedgectl/options.h"

extern const struct subcommand subcommand_validate;
extern const struct subcommand subcommand_push;
extern const struct subcommand subcommand_show;
extern const struct subcommand subcommand_watch;
extern const struct subcommand subcommand_decode;

#endif
