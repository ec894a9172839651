/**
 * @file identity.c  What an account calls itself and its server
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "edge/sip/identity.h"
#include "edge/sip/message.h"

static void destructor(void *arg)
{
	struct identity *identity = arg;

	mem_deref(identity->host);
	mem_deref(identity->server);
	mem_deref(identity->registrar);
	mem_deref(identity->aor);
	mem_deref(identity->user);
}

int text_join(char **textp, ...)
{
	const char *part;
	size_t len = 0;
	char *text, *p;
	va_list ap;

	va_start(ap, textp);
	while ((part = va_arg(ap, const char *)))
		len += strlen(part);
	va_end(ap);

	text = mem_alloc(len + 1, NULL);
	if (!text)
		return ENOMEM;

	p = text;
	va_start(ap, textp);
	while ((part = va_arg(ap, const char *)))
		p = stpcpy(p, part);
	va_end(ap);
	*p = '\0';
	*textp = text;

	return 0;
}

bool text_u32(uint32_t *valuep, const struct pl *pl)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; i < pl->l && pl->p[i] >= '0' && pl->p[i] <= '9'; i++) {
		value = value * 10 + (uint64_t)(pl->p[i] - '0');
		if (value > UINT32_MAX)
			value = UINT32_MAX;
	}
	if (i)
		*valuep = (uint32_t)value;

	return i > 0;
}

void token_print(char text[17], uint64_t random)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 15; i >= 0; i--, random >>= 4)
		text[i] = digits[random & 15];
	text[16] = '\0';
}

void address_print(char text[ADDRESS_TEXT_SIZE], const struct sa *sa)
{
	char address[INET6_ADDRSTRLEN];

	if (sa_ntop(sa, address, sizeof(address)))
		str_ncpy(address, "?", sizeof(address));

	(void)snprintf(
	        text, ADDRESS_TEXT_SIZE, sa_af(sa) == AF_INET6 ? "[%s]:%u" : "%s:%u", address, (unsigned)sa_port(sa));
}

static int escaped(char **textp, const char *user)
{
	return re_sdprintf(textp, "%H", sip_user_print, user);
}

/* An IPv6 literal needs brackets in a URI. */
static int host_of(char **hostp, const char *address)
{
	return strchr(address, ':') ? text_join(hostp, "[", address, "]", NULL) : str_dup(hostp, address);
}

/* The user part ends at the last @: what stands behind it is a domain. NULL: none. */
static const char *domain_of(const char *login)
{
	const char *at = strrchr(login, '@');

	return at && at != login && at[1] ? at + 1 : NULL;
}

static int login_uris(struct identity *identity, const char *login, const char *port)
{
	const char *domain = domain_of(login);
	char *part = NULL, *user = NULL;
	int err;

	err = domain ? re_sdprintf(&part, "%b", login, (size_t)(domain - 1 - login)) : str_dup(&part, login);
	err = err ? err : escaped(&user, part);
	err = err ? err : text_join(&identity->registrar, "sip:", domain ? domain : identity->host, NULL);
	err = err ? err : text_join(&identity->aor, "sip:", user, "@", domain ? domain : identity->host, NULL);
	if (!err)
		err = domain ? text_join(&identity->user, identity->aor, NULL)
		             : text_join(&identity->user, identity->aor, port, NULL);
	mem_deref(part);
	mem_deref(user);

	return err;
}

int identity_alloc(struct identity **identityp, const struct account *account)
{
	struct identity *identity = mem_zalloc(sizeof(*identity), destructor);
	char port[16] = "";
	int err;

	if (!identity)
		return ENOMEM;

	identity->port = account->remote_port;
	if (identity->port)
		(void)snprintf(port, sizeof(port), ":%u", (unsigned)identity->port);

	err = host_of(&identity->host, account->remote_address);
	err = err ? err : text_join(&identity->server, "sip:", identity->host, port, NULL);
	if (!err && account->login)
		err = login_uris(identity, account->login, port);
	else if (!err)
		err = text_join(&identity->registrar, "sip:", identity->host, NULL);

	if (err)
		mem_deref(identity);
	else
		*identityp = identity;

	return err;
}

int identity_uri(char **urip, const struct identity *identity, const char *user)
{
	char *text;
	int err = escaped(&text, user);

	if (err)
		return err;
	err = text_join(urip, "sip:", text, "@", identity->host, NULL);
	mem_deref(text);

	return err;
}

static bool is_uri(const char *target)
{
	return !strncasecmp(target, "sip:", 4) || !strncasecmp(target, "sips:", 5) || !strncasecmp(target, "tel:", 4);
}

int identity_target(char **urip, const struct identity *identity, const char *target)
{
	const char *domain = domain_of(target);
	char *part = NULL, *user = NULL;
	char port[16] = "";
	int err;

	if (is_uri(target))
		return str_dup(urip, target);

	if (identity->port && !domain)
		(void)snprintf(port, sizeof(port), ":%u", (unsigned)identity->port);

	err = domain ? re_sdprintf(&part, "%b", target, (size_t)(domain - 1 - target)) : str_dup(&part, target);
	err = err ? err : escaped(&user, part);
	err = err ? err : text_join(urip, "sip:", user, "@", domain ? domain : identity->host, port, NULL);
	mem_deref(part);
	mem_deref(user);

	return err;
}

int identity_contact(char **urip, const char *token, const struct sa *local, enum transport transport)
{
	char address[ADDRESS_TEXT_SIZE];

	address_print(address, local);

	return text_join(urip, "sip:", token, "@", address, transport == TRANSPORT_UDP ? "" : ";transport=tcp", NULL);
}
