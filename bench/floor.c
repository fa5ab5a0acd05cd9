/* The floor in C: the gated path's four hops with bare libzmq, three processes, one in flight.
 *
 *     cc -O2 -o floor floor.c -lzmq
 *     floor SECONDS SIZE
 *
 * client > primary > standby > primary > client over TCP on loopback, SIZE bytes there and back.
 * Prints the round trips of SECONDS seconds, in nanoseconds, one on each line; those of a warm-up
 * of a fifth of it before are left out. The relays do nothing but receive and send.
 */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

enum { ENDPOINT = 128, MAX_SIZE = 65536, WARM_UP_SHARE = 5 };

static void need(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "floor: %s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A bound PAIR whose endpoint goes into `pipe_end`, for who connects. */
static void *bound(void *context, int pipe_end) {
    char endpoint[ENDPOINT] = "";
    size_t size = sizeof endpoint;
    void *sock = zmq_socket(context, ZMQ_PAIR);
    need(zmq_bind(sock, "tcp://127.0.0.1:*") == 0, "bind");
    need(zmq_getsockopt(sock, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0, "endpoint");
    need(write(pipe_end, endpoint, ENDPOINT) == ENDPOINT, "pipe");
    return sock;
}

static void *connected(void *context, int pipe_end) {
    char endpoint[ENDPOINT];
    void *sock = zmq_socket(context, ZMQ_PAIR);
    need(read(pipe_end, endpoint, ENDPOINT) == ENDPOINT, "pipe");
    need(zmq_connect(sock, endpoint) == 0, "connect");
    return sock;
}

static void standby(int to_primary) {
    static char body[MAX_SIZE];
    void *sock = bound(zmq_ctx_new(), to_primary);
    for (;;) {
        int size = zmq_recv(sock, body, sizeof body, 0);
        need(size >= 0 && zmq_send(sock, body, size, 0) >= 0, "standby");
    }
}

static void primary(int from_standby, int to_client) {
    static char body[MAX_SIZE];
    void *context = zmq_ctx_new();
    void *behind = connected(context, from_standby);
    void *client = bound(context, to_client);
    for (;;) {
        int size = zmq_recv(client, body, sizeof body, 0);
        need(size >= 0 && zmq_send(behind, body, size, 0) >= 0, "primary");
        size = zmq_recv(behind, body, sizeof body, 0);
        need(size >= 0 && zmq_send(client, body, size, 0) >= 0, "primary");
    }
}

static void client(int from_primary, double seconds, size_t size) {
    static char body[MAX_SIZE];
    void *sock = connected(zmq_ctx_new(), from_primary);
    size_t room = 1 << 20, count = 0;
    int64_t *samples = malloc(room * sizeof *samples);
    int64_t begin_ns = now_ns() + (int64_t)(seconds * 1e9 / WARM_UP_SHARE);
    int64_t end_ns = begin_ns + (int64_t)(seconds * 1e9), sent_ns;
    memset(body, 'x', sizeof body);
    while ((sent_ns = now_ns()) < end_ns) {
        need(zmq_send(sock, body, size, 0) >= 0, "send");
        need(zmq_recv(sock, body, sizeof body, 0) >= 0, "receive");
        if (sent_ns < begin_ns)
            continue;
        if (count == room)
            samples = realloc(samples, (room *= 2) * sizeof *samples);
        need(samples != NULL, "memory");
        samples[count++] = now_ns() - sent_ns;
    }
    for (size_t index = 0; index < count; index++)
        printf("%lld\n", (long long)samples[index]);
}

/* Forks before any context is made, as a context survives no fork; ends with its parent. */
static pid_t forked(void) {
    pid_t child = fork();
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

int main(int count, char **words) {
    int behind[2], before[2];
    double seconds = count == 3 ? atof(words[1]) : 0;
    long size = count == 3 ? atol(words[2]) : 0;
    if (seconds <= 0 || size < 1 || size > MAX_SIZE) {
        fprintf(stderr, "usage: floor SECONDS SIZE, with a size of 1 to %d\n", MAX_SIZE);
        return 2;
    }
    need(pipe(behind) == 0 && pipe(before) == 0, "pipe");
    pid_t second = forked();
    if (second == 0)
        standby(behind[1]);
    pid_t first = forked();
    if (first == 0)
        primary(behind[0], before[1]);
    client(before[0], seconds, (size_t)size);
    fflush(stdout);
    kill(first, SIGKILL);
    kill(second, SIGKILL);
    waitpid(first, NULL, 0);
    waitpid(second, NULL, 0);
    return 0;
}
