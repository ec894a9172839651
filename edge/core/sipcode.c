/**
 * @file sipcode.c  SIP response codes: name and meaning
 *
 * Names: IANA registry "Session Initiation Protocol Parameters". Meanings: what the answer says of the server that is checked.
 */
#include <stddef.h>
#include "edge/core/sipcode.h"

struct sipcode {
	uint16_t code;
	const char *name;
	const char *meaning;
};

/* in ascending order: looked up by halving */
static const struct sipcode table[] = {
        {100, "Trying", "The request was received and is being worked on; no decision yet."},
        {180, "Ringing", "The called device was found and is alerting its user."},
        {181, "Call Is Being Forwarded", "The call is on its way to another destination."},
        {182, "Queued", "The called party is busy for now; the call waits in a queue instead of being refused."},
        {183, "Session Progress", "The call proceeds, usually with announcements or tones before it is answered."},
        {199, "Early Dialog Terminated", "One of the branches of a forked call has ended (RFC 6228)."},
        {200, "OK", "The request succeeded."},
        {202, "Accepted",
                "The request was taken for later processing; delivery is not confirmed (deprecated, RFC 6665)."},
        {204, "No Notification", "The subscription was refreshed without a notification being sent (RFC 5839)."},
        {300, "Multiple Choices",
                "The address leads to several places; the caller has to choose one of the contacts given."},
        {301, "Moved Permanently", "The user is no longer at this address; the new one is in the Contact header."},
        {302, "Moved Temporarily", "The user is for now reachable at the address in the Contact header."},
        {305, "Use Proxy", "The destination may only be reached through the proxy in the Contact header."},
        {380, "Alternative Service", "The call was not possible, but another service described in the body is."},
        {400, "Bad Request", "The server could not understand the request because of its syntax."},
        {401, "Unauthorized", "The server asks the user to authenticate: login or password are missing or wrong."},
        {402, "Payment Required", "Reserved for charging: the server wants payment before it serves the request."},
        {403, "Forbidden", "The server understood the request and refuses it; authenticating again will not help."},
        {404, "Not Found", "The server knows for certain that the user does not exist in this domain."},
        {405, "Method Not Allowed", "The method is understood but not allowed for this address; see the Allow header."},
        {406, "Not Acceptable", "The server can only answer with content that the request said it would not accept."},
        {407, "Proxy Authentication Required",
                "A proxy asks for authentication: login or password are missing or wrong."},
        {408, "Request Timeout", "The server could not find the user in the time allowed."},
        {409, "Conflict",
                "The request conflicts with the state of the resource (RFC 2543 only, no longer registered)."},
        {410, "Gone", "The user was here once and is not any more; no forwarding address is known."},
        {411, "Length Required", "The server wants a Content-Length header (RFC 2543 only, no longer registered)."},
        {412, "Conditional Request Failed",
                "The published state named in the request is not the current one (RFC 3903)."},
        {413, "Request Entity Too Large", "The body of the request is larger than the server is willing to process."},
        {414, "Request-URI Too Long", "The request's address is longer than the server is willing to interpret."},
        {415, "Unsupported Media Type", "The body has a format that the server does not support for this method."},
        {416, "Unsupported URI Scheme", "The server does not know the scheme of the request's address."},
        {417, "Unknown Resource-Priority", "None of the resource priorities in the request is known (RFC 4412)."},
        {420, "Bad Extension",
                "The server does not support an extension that the request insists on; see Unsupported."},
        {421, "Extension Required", "The server needs an extension that the request does not offer; see Require."},
        {422, "Session Interval Too Small",
                "The session timer asked for is shorter than the server's minimum (RFC 4028)."},
        {423, "Interval Too Brief", "The expiry asked for is shorter than the server's minimum; see Min-Expires."},
        {424, "Bad Location Information", "The location information in the request is missing or wrong (RFC 6442)."},
        {425, "Bad Alert Message", "The alert in the request was malformed or not acceptable (RFC 8876)."},
        {428, "Use Identity Header", "The server demands a signed caller identity in the request (RFC 8224)."},
        {429, "Provide Referrer Identity", "The server wants to know who referred the caller, signed (RFC 3892)."},
        {430, "Flow Failed", "The connection over which the user is registered is dead (RFC 5626)."},
        {433, "Anonymity Disallowed", "The called party refuses anonymous requests (RFC 5079)."},
        {436, "Bad Identity Info",
                "The certificate that the signed identity points to could not be fetched (RFC 8224)."},
        {437, "Unsupported Credential",
                "The certificate behind the signed identity is not trusted or usable (RFC 8224)."},
        {438, "Invalid Identity Header", "The signature of the caller's identity does not verify (RFC 8224)."},
        {439, "First Hop Lacks Outbound Support",
                "The first proxy on the way does not support outbound flows (RFC 5626)."},
        {440, "Max-Breadth Exceeded", "The request may not fork into as many branches as it would need (RFC 5393)."},
        {469, "Bad Info Package", "The INFO request belongs to a package that was not agreed on (RFC 6086)."},
        {470, "Consent Needed", "The recipients have not consented to receive the request (RFC 5360)."},
        {480, "Temporarily Unavailable",
                "The user exists but cannot be reached now: not registered, or not disturbed."},
        {481, "Call/Transaction Does Not Exist",
                "The server knows no call or transaction to which the request belongs."},
        {482, "Loop Detected", "The request came back to a server that it had already passed."},
        {483, "Too Many Hops", "The request passed more servers than it is allowed to: often a routing loop."},
        {484, "Address Incomplete", "The number or address is too short to be routed."},
        {485, "Ambiguous", "The address fits several users and the server does not choose."},
        {486, "Busy Here", "The called device was reached and its user is busy."},
        {487, "Request Terminated", "The request was ended by a CANCEL or a BYE before it was answered."},
        {488, "Not Acceptable Here",
                "The session offered (codecs, addresses) does not suit this device; another one may take it."},
        {489, "Bad Event", "The server does not know the event package of the subscription (RFC 6665)."},
        {491, "Request Pending", "The server is still working on another request in the same dialog."},
        {493, "Undecipherable", "The body is encrypted and the server has no key to read it."},
        {494, "Security Agreement Required",
                "The server demands that a security mechanism is negotiated first (RFC 3329)."},
        {500, "Server Internal Error", "The server ran into an unexpected condition while handling the request."},
        {501, "Not Implemented", "The server does not implement what the request needs, usually its method."},
        {502, "Bad Gateway", "The server, acting as a gateway, got an invalid answer from the next server."},
        {503, "Service Unavailable", "The server is overloaded or under maintenance; see Retry-After."},
        {504, "Server Time-out", "A server further on did not answer in time."},
        {505, "Version Not Supported", "The server does not support the SIP version of the request."},
        {513, "Message Too Large", "The request is longer than the server can process."},
        {555, "Push Notification Service Not Supported",
                "The server does not support the push service named (RFC 8599)."},
        {580, "Precondition Failure", "The conditions that had to be met before ringing cannot be met (RFC 3312)."},
        {600, "Busy Everywhere", "The user is busy at every device."},
        {603, "Decline", "The user was reached and does not want to take part, anywhere."},
        {604, "Does Not Exist Anywhere", "The server knows for certain that the user does not exist anywhere."},
        {606, "Not Acceptable", "The user was reached, but no device accepts the session offered."},
        {607, "Unwanted", "The called party says that this call is not wanted (RFC 8197)."},
        {608, "Rejected", "A machine on the way judged the call unwanted and rejected it (RFC 8688)."},
};

/* RFC 3261 8.1.3.2: an unknown code counts as the x00 of its class, 1xx as 183 */
static const struct sipcode classes[] = {
        {1, "Provisional", "A provisional answer that is not registered: the request is being worked on."},
        {2, "Success", "An answer that is not registered: counts as success (200)."},
        {3, "Redirection", "An answer that is not registered: counts as a redirection (300)."},
        {4, "Client Error", "An answer that is not registered: counts as a faulty request (400)."},
        {5, "Server Error", "An answer that is not registered: counts as an internal error of the server (500)."},
        {6, "Global Failure", "An answer that is not registered: counts as busy everywhere (600)."},
};

static const struct sipcode none = {0, "Unknown", "Not a SIP response code."};

static const struct sipcode *find(uint16_t code)
{
	size_t low = 0, high = sizeof(table) / sizeof(table[0]);

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (table[mid].code == code)
			return &table[mid];
		if (table[mid].code < code)
			low = mid + 1;
		else
			high = mid;
	}
	return code >= 100 && code <= 699 ? &classes[code / 100 - 1] : &none;
}

const char *sipcode_name(uint16_t code)
{
	return find(code)->name;
}

const char *sipcode_meaning(uint16_t code)
{
	return find(code)->meaning;
}
