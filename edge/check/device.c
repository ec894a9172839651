/**
 * @file device.c  An account at work
 */
#include <string.h>
#include "edge/check/check.h"

static void destructor(void *arg)
{
	struct device *device = arg;

	list_unlink(&device->le);
	if (device->is_stopping)
		--device->checker->nstopping;
	mem_deref(device->registration);
	mem_deref(device->line);
	mem_deref(device->identity);
	mem_deref(device->id.call_id);
	mem_deref(device->id.contact);
	mem_deref(device->contact);
	for (enum method method = 0; method < METHOD_COUNT; method++)
		mem_deref(device->headers[method]);
	mem_deref(device->account);
	mem_deref(device->original);
	mem_deref(device->checker);
}

static int alloc_token(char **textp, const struct sip_stack *stack)
{
	char text[17];

	token_print(text, stack_random(stack));

	return str_dup(textp, text);
}

bool device_is_registered(const struct device *device)
{
	return device->registration != NULL;
}

static int alloc_line(struct device *device, const struct account *account)
{
	const struct line_config config = {
	        .local = account->local,
	        .host = account->remote_address,
	        .port = account->remote_port,
	        .transport = account->transport,
	        .is_kept = account->registers || sa_port(&account->local) != 0,
	};

	return line_alloc(&device->line, device->checker->stack, &config);
}

static int alloc_registration(struct device *device)
{
	const struct registration_config config = {
	        .name = device->original->id,
	        .identity = device->identity,
	        .id = &device->id,
	        .line = device->line,
	        .login = device->original->login,
	        .password = device->original->password,
	};

	if (!device->original->registers || !device->original->login)
		return 0;

	return registration_alloc(&device->registration, device->checker->stack, &config);
}

int device_alloc(struct device **devicep, struct checker *checker, struct account *account)
{
	struct device *device;
	int err;

	if (!devicep || !checker || !account)
		return EINVAL;

	device = mem_zalloc(sizeof(*device), destructor);
	if (!device)
		return ENOMEM;

	device->checker = mem_ref(checker);
	device->account = mem_ref(account);
	device->original = mem_ref(account);
	list_init(&device->checks);
	list_append(&checker->devices, &device->le, device);

	err = identity_alloc(&device->identity, account);
	err = err ? err : alloc_token(&device->id.call_id, checker->stack);
	err = err ? err : alloc_token(&device->id.contact, checker->stack);
	err = err ? err : alloc_line(device, account);
	err = err ? err : alloc_registration(device);
	if (err)
		mem_deref(device);
	else
		*devicep = device;

	return err;
}

void device_start(struct device *device)
{
	if (device->registration && !device->is_closing)
		registration_start(device->registration);
}

void device_set_account(struct device *device, struct account *account)
{
	mem_ref(account);
	mem_deref(device->account);
	device->account = account;
}

const struct account *device_account(const struct device *device)
{
	return device->account;
}

/* The headers of a method's requests. MESSAGE has no Contact (RFC 3428 4); OPTIONS has an Accept (RFC 3261 11.1). */
static int make_headers(char **headersp, const struct device *device, enum method method)
{
	const char *agent = device->checker->stack->user_agent;

	if (method == METHOD_MESSAGE)
		return text_join(headersp, "User-Agent: ", agent, "\r\n", NULL);

	return text_join(headersp, "User-Agent: ", agent, "\r\nContact: <", device->contact, ">\r\n",
	        method == METHOD_OPTIONS ? "Accept: application/sdp\r\n" : "", NULL);
}

int device_set_local(struct device *device, const struct sa *local)
{
	int err;

	if (device->contact && sa_cmp(local, &device->contact_local, SA_ALL))
		return 0;

	device->contact = mem_deref(device->contact);
	err = identity_contact(&device->contact, device->id.contact, local, line_transport(device->line));
	for (enum method method = 0; method < METHOD_COUNT && !err; method++) {
		device->headers[method] = mem_deref(device->headers[method]);
		err = make_headers(&device->headers[method], device, method);
	}
	if (err)
		device->contact = mem_deref(device->contact);
	else
		device->contact_local = *local;

	return err;
}

static void stopped_handler(void *arg)
{
	struct device *device = arg;

	device->is_stopping = false;
	--device->checker->nstopping;
	device->registration = mem_deref(device->registration);
	if (device->is_dropped)
		mem_deref(device);
}

void device_stop(struct device *device)
{
	struct le *le;

	if (device->is_closing)
		return;

	device->is_closing = true;
	mem_ref(device);
	while ((le = list_head(&device->checks)))
		check_cancel(le->data);
	if (device->registration && !device->is_stopping) {
		device->is_stopping = true;
		++device->checker->nstopping;
		registration_stop(device->registration, stopped_handler, device);
	}
	mem_deref(device);
}

void device_close(struct device *device)
{
	if (!device)
		return;

	device_stop(device);
	device->is_dropped = true;
	if (!device->is_stopping)
		mem_deref(device);
}
