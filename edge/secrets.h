/**
 * @file secrets.h  Reads the secret files that documents name
 *
 * Store thread. A document comes from the network: its names never lead outside the folder.
 */
#ifndef SIPEDGE_SECRETS_H
#define SIPEDGE_SECRETS_H

/* config_policy.secret_read; arg: the folder (const char *). EPERM: the name leads outside of it, by a link or "..". */
int secrets_read(char **secretp, const char *name, void *arg);

#endif
