/* SPDX-License-Identifier: Apache-2.0 */
/* tf_object: TCP connections as the kernel reports them against the two processes that made them. Needs root; 77 = not permitted. */
#include "object_fixture.h"

#include <arpa/inet.h>
#include <sys/prctl.h>

static struct tf_object *obj;
static struct tf_source *src;

static void drain(void) { read_all(src, keep); }

/* What one connection is to be, and who was there. */
struct talk {
	int family;
	bool client_closes_first;
	uint32_t to_server, to_client; /* bytes */
	pid_t client, server;
	uint16_t port;
};

static socklen_t loopback(int family, struct sockaddr_storage *out, uint16_t port)
{
	struct sockaddr_in *v4 = (void *)out;
	struct sockaddr_in6 *v6 = (void *)out;

	memset(out, 0, sizeof(*out));
	if (family == AF_INET) {
		*v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
		return sizeof(*v4);
	}
	*v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_loopback};
	return sizeof(*v6);
}

static void send_bytes(int fd, uint32_t n)
{
	static const char zeros[65536];

	while (n) {
		ssize_t sent = write(fd, zeros, n < sizeof(zeros) ? n : sizeof(zeros));

		if (sent <= 0)
			_exit(3);
		n -= (uint32_t)sent;
	}
}

static void receive_bytes(int fd, uint32_t n)
{
	static char sink[65536];

	while (n) {
		ssize_t got = read(fd, sink, n < sizeof(sink) ? n : sizeof(sink));

		if (got <= 0)
			_exit(4);
		n -= (uint32_t)got;
	}
}

/* Who closes first waits a little for the other's answer, then both ends are through. */
static void close_in_turn(int fd, bool first)
{
	char c;

	if (first)
		usleep(20000);
	else if (read(fd, &c, 1))
		_exit(5);
	close(fd);
	usleep(20000);
}

static void serve(int listener, const struct talk *t)
{
	int fd = accept(listener, NULL, NULL);

	prctl(PR_SET_NAME, "the-server");
	receive_bytes(fd, t->to_server);
	send_bytes(fd, t->to_client);
	close_in_turn(fd, !t->client_closes_first);
	_exit(0);
}

static void call(const struct talk *t)
{
	struct sockaddr_storage to;
	socklen_t len = loopback(t->family, &to, t->port);
	int fd = socket(t->family, SOCK_STREAM, 0);

	prctl(PR_SET_NAME, "the-client");
	if (connect(fd, (void *)&to, len))
		_exit(2);
	send_bytes(fd, t->to_server);
	receive_bytes(fd, t->to_client);
	close_in_turn(fd, t->client_closes_first);
	_exit(0);
}

/* The listener is the test's own socket, so the accept is ours until the server closes. */
static void have_talk(struct talk *t)
{
	struct sockaddr_storage at;
	socklen_t len = loopback(t->family, &at, 0);
	int listener = socket(t->family, SOCK_STREAM, 0);

	CHECK(!bind(listener, (void *)&at, len) && !listen(listener, 4) && !getsockname(listener, (void *)&at, &len));
	t->port = ntohs(((struct sockaddr_in *)&at)->sin_port);
	drain();
	forget_records();
	t->server = fork();
	if (!t->server)
		serve(listener, t);
	t->client = fork();
	if (!t->client)
		call(t);
	CHECK_EQ(wait_for(t->client), 0);
	CHECK_EQ(wait_for(t->server), 0);
	close(listener);
	drain();
}

static void check_ends(const struct tf_network *e, const struct talk *t, bool client_side)
{
	static const uint8_t v4[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1}, v6[16] = {[15] = 1};
	const uint8_t *want = t->family == AF_INET ? v4 : v6;

	CHECK(!memcmp(e->source_ip, want, 16) && !memcmp(e->dest_ip, want, 16));
	CHECK_EQ(client_side ? e->dest_port : e->source_port, t->port);
	CHECK((client_side ? e->source_port : e->dest_port) >= 1024);
	CHECK_EQ(e->family, t->family);
	CHECK_EQ(e->protocol, IPPROTO_TCP);
	CHECK_EQ(e->netns, all_on().netns);
	CHECK_EQ(e->direction, client_side ? TF_DIR_EGRESS : TF_DIR_INGRESS);
	CHECK_EQ(e->h.flags & TF_F_NO_OWNER, 0);
}

static void check_talk(struct talk t)
{
	const struct tf_network *c, *a, *client_close, *server_close;

	have_talk(&t);
	c = &only_record(TF_K_NETWORK_CONNECT, (uint32_t)t.client)->network;
	a = &only_record(TF_K_NETWORK_ACCEPT, (uint32_t)getpid())->network;
	client_close = &only_record(TF_K_NETWORK_CLOSE, (uint32_t)t.client)->network;
	server_close = &only_record(TF_K_NETWORK_CLOSE, (uint32_t)t.server)->network;
	check_ends(c, &t, true);
	check_ends(client_close, &t, true);
	check_ends(a, &t, false);
	check_ends(server_close, &t, false);
	CHECK(c->cookie == client_close->cookie && a->cookie == server_close->cookie && c->cookie != a->cookie);
	CHECK_EQ(c->errno_, 0);
	CHECK(c->duration_ns > 0 && c->duration_ns < 1000000000);
	CHECK(a->h.flags & TF_F_LISTENER_OWNER);
	CHECK_EQ(server_close->h.flags & TF_F_LISTENER_OWNER, 0);
	CHECK(!strcmp(c->h.comm, "the-client") && !strcmp(client_close->h.comm, "the-client"));
	CHECK(!strcmp(server_close->h.comm, "the-server"));
	CHECK(c->state == 1 && c->old_state == 2 && a->state == 1 && a->old_state == 3 && client_close->state == 7);
	CHECK_EQ(client_close->bytes_sent, t.to_server);
	CHECK_EQ(client_close->bytes_received, t.to_client);
	CHECK_EQ(server_close->bytes_sent, t.to_client);
	CHECK_EQ(server_close->bytes_received, t.to_server);
	CHECK(client_close->duration_ns >= 15000000 && client_close->duration_ns < 5000000000);
	CHECK(client_close->srtt_us > 0 && client_close->srtt_us < 1000000);
	CHECK_EQ(client_close->h.start_ns, c->h.start_ns);
}

static void connections_are_told_exactly(void)
{
	static const uint32_t sizes[][2] = {{0, 0}, {1, 0}, {0, 1}, {100, 7000}, {3000000, 1234567}};

	for (int v6 = 0; v6 < 2; v6++)
		for (int first = 0; first < 2; first++)
			for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
				check_talk((struct talk){.family = v6 ? AF_INET6 : AF_INET, .client_closes_first = first,
							 .to_server = sizes[i][0], .to_client = sizes[i][1]});
}

static void a_refused_connection_says_so(void)
{
	for (int v6 = 0; v6 < 2; v6++) {
		const struct tf_network *e;
		struct sockaddr_storage to;
		socklen_t len = loopback(v6 ? AF_INET6 : AF_INET, &to, 1);
		size_t at = 0;
		pid_t pid;

		forget_records();
		pid = fork();
		if (!pid)
			_exit(connect(socket(to.ss_family, SOCK_STREAM, 0), (void *)&to, len) && errno == ECONNREFUSED ? 0 : 1);
		CHECK_EQ(wait_for(pid), 0);
		drain();
		e = &only_record(TF_K_NETWORK_CONNECT, (uint32_t)pid)->network;
		CHECK_EQ(e->errno_, ECONNREFUSED);
		CHECK(e->state == 7 && e->dest_port == 1 && e->duration_ns > 0);
		CHECK(!find_record(TF_K_NETWORK_CLOSE, (uint32_t)pid, &at));
	}
}

/* An AF_INET6 socket that talks IPv4 is what goes over the wire. */
static void mapped_addresses_are_ipv4(void)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = {{{[10] = 0xff, 0xff, 127, 0, 0, 1}}}};
	struct sockaddr_storage at;
	socklen_t len = loopback(AF_INET, &at, 0);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	const struct tf_network *e;
	pid_t pid;

	CHECK(!bind(listener, (void *)&at, len) && !listen(listener, 4) && !getsockname(listener, (void *)&at, &len));
	to.sin6_port = ((struct sockaddr_in *)&at)->sin_port;
	forget_records();
	pid = fork();
	if (!pid)
		_exit(connect(socket(AF_INET6, SOCK_STREAM, 0), (void *)&to, sizeof(to)) ? 1 : 0);
	CHECK_EQ(wait_for(pid), 0);
	close(listener);
	drain();
	e = &only_record(TF_K_NETWORK_CONNECT, (uint32_t)pid)->network;
	CHECK_EQ(e->family, AF_INET);
	CHECK(!memcmp(e->source_ip, to.sin6_addr.s6_addr, 16) && !memcmp(e->dest_ip, to.sin6_addr.s6_addr, 16));
	CHECK_EQ(e->dest_port, ntohs(to.sin6_port));
}

/* No port left to call from: the attempt fails before anything is sent. */
static void no_free_port_is_an_error_not_a_success(void)
{
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
	struct sockaddr_storage at;
	socklen_t len = loopback(AF_INET, &at, 0);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	pid_t pid;

	CHECK(f && fprintf(f, "40000 40000") > 0 && !fclose(f));
	CHECK(!bind(listener, (void *)&at, len) && !listen(listener, 4) && !getsockname(listener, (void *)&at, &len));
	forget_records();
	pid = fork();
	if (!pid)
		_exit(connect(socket(AF_INET, SOCK_STREAM, 0), (void *)&at, len) && errno == EADDRNOTAVAIL ? 0 : 1);
	CHECK_EQ(wait_for(pid), 0);
	close(listener);
	drain();
	CHECK_EQ(only_record(TF_K_NETWORK_CONNECT, (uint32_t)pid)->network.errno_, EADDRNOTAVAIL);
	f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "w");
	CHECK(f && fprintf(f, "32768 60999") > 0 && !fclose(f));
}

/* A connection older than the collector has an owner through the snapshot, and with it its close a subject. */
static void connections_before_us_get_an_owner(void)
{
	struct tf_object_opts opts = all_on();
	struct sockaddr_storage at;
	socklen_t len = loopback(AF_INET, &at, 0);
	int listener = socket(AF_INET, SOCK_STREAM, 0), ready[2], rc;
	const struct tf_network *e;
	char c;
	pid_t pid;

	CHECK(!pipe(ready));
	CHECK(!bind(listener, (void *)&at, len) && !listen(listener, 4) && !getsockname(listener, (void *)&at, &len));
	pid = fork();
	if (!pid) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		close(ready[1]);
		_exit(connect(fd, (void *)&at, len) || read(ready[0], &c, 1) ? 1 : 0);
	}
	close(ready[0]);
	close(accept(listener, NULL, NULL));
	obj = open_object(&opts);
	src = tf_object_source(obj);
	attach_object(obj);
	while ((rc = src->step(src->self)) > 0)
		drain();
	CHECK_EQ(rc, 0);
	close(ready[1]); /* the child exits, and its socket is closed */
	CHECK_EQ(wait_for(pid), 0);
	drain();
	e = &only_record(TF_K_NETWORK_CLOSE, (uint32_t)pid)->network;
	CHECK_EQ(e->dest_port, ntohs(((struct sockaddr_in *)&at)->sin_port));
	CHECK_EQ(e->duration_ns, 0); /* its beginning was not seen */
	close(listener);
	tf_object_close(obj);
}

static void snapshot_tells_what_ran_before(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(any);
	const struct tf_network *net = NULL;
	const union any_row *row;
	struct tf_object_opts opts;
	size_t at = 0;
	int fd, steps = 0, rc;

	fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK(!bind(fd, (void *)&any, len) && !listen(fd, 1) && !getsockname(fd, (void *)&any, &len));
	opts = all_on();
	opts.bulk_bytes = 0;
	obj = open_object(&opts);
	src = tf_object_source(obj);
	attach_object(obj);
	forget_records();
	while ((rc = src->step(src->self)) > 0 && ++steps < 100000)
		drain();
	CHECK_EQ(rc, 0);
	drain();
	row = only_record(TF_K_META_SNAPSHOT_PROCESS, (uint32_t)getpid());
	CHECK_EQ(row->h.ppid, getppid());
	CHECK(row->meta.path.len && row->meta.data.len);
	CHECK(strstr((const char *)row->bytes + sizeof(row->meta) + row->meta.path.offset, "test_tf_object"));
	only_record(TF_K_META_SNAPSHOT_PROCESS, (uint32_t)getppid());
	while ((row = find_record(TF_K_META_SNAPSHOT_SOCKET, (uint32_t)getpid(), &at))) {
		net = (const void *)(row->bytes + sizeof(row->meta) - sizeof(struct tf_header));
		if (net->source_port == ntohs(any.sin_port))
			break;
	}
	CHECK(row && net->state == 10 && net->family == AF_INET && net->source_ip[12] == 127 && net->netns == all_on().netns);
	CHECK_EQ(row->meta.object_id, net->cookie);
	close(fd);
	tf_object_close(obj);
}

int main(void)
{
	struct tf_object_opts opts;

	setvbuf(stdout, NULL, _IOLBF, 0); /* children must not print our buffer again */
	own_network();
	snapshot_tells_what_ran_before();
	connections_before_us_get_an_owner();
	opts = all_on();
	opts.no_snapshot = true;
	opts.trace_self = true; /* the listener is ours */
	obj = open_object(&opts);
	src = tf_object_source(obj);
	attach_object(obj);
	connections_are_told_exactly();
	a_refused_connection_says_so();
	mapped_addresses_are_ipv4();
	no_free_port_is_an_error_not_a_success();
	tf_object_close(obj);
	return 0;
}
