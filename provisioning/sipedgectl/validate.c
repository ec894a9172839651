/**
 * @file validate.c  sipedgectl validate: every error of a file, without any broker
 */
#include <inttypes.h>
#include <stdio.h>
#include "provisioning/sipedgectl/document.h"
#include "provisioning/sipedgectl/subcommands.h"

static int validate(const struct options *options)
{
	struct document doc;
	int code;

	code = document_load(&doc, options->args[0]);
	if (!code)
		code = document_validate(&doc, options->node);
	if (!code)
		printf("%s: valid: accounts %zu, commands %zu\n", doc.filename, doc.msg->n_accounts, doc.commands);
	document_close(&doc);

	return code;
}

const struct subcommand subcommand_validate = {
        .name = "validate",
        .run = validate,
        .takes = TAKES_NODE,
        .args_min = 1,
        .args_max = 1,
        .args = "FILE.yaml",
        .summary = "Print every error of a document with its line and path",
        .details = "FILE.yaml is - for standard input. Nothing is sent. What only the node knows (its addresses, its "
                   "secret\n"
                   "files, whether it allows plain secrets) is not looked at.\n"
                   "Exit status: 0 valid, 1 not valid, 2 bad usage or the file can't be read.",
};
