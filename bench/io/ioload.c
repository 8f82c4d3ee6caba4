// What bench/io runs in the guest: one kind of load for some seconds, then one line "UNITS NANOSECONDS".
// Usage: ioload KIND SECONDS DEVICE            seqread, seqwrite (1 MiB), randread, randwrite (4 KiB), each with O_DIRECT;
//                                              randread4, randwrite4: the same by four threads
//        ioload KIND SECONDS ADDRESS PORT      tcpsend, tcprecv (bytes), tcpping (round trips of one byte)
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>

enum { BIG = 1 << 20, SMALL = 4096 };

static uint64_t limit;

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

// Never twice in a row the same place, and the same places in each run.
static uint64_t next(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

struct disk {
    int fd, write, random;
    uint64_t size, seed, done;
};

static void *load_disk(void *argument)
{
    struct disk *d = argument;
    size_t length = d->random ? SMALL : BIG;
    uint64_t blocks = d->size / length, block = 0, started = now();
    char *buffer;
    if (posix_memalign((void **)&buffer, SMALL, length))
        die("memory");
    memset(buffer, 0x5A, length);
    while (now() - started < limit) {
        block = d->random ? next(&d->seed) % blocks : (block + 1) % blocks;
        ssize_t moved = d->write ? pwrite(d->fd, buffer, length, block * length) : pread(d->fd, buffer, length, block * length);
        if (moved != (ssize_t)length)
            die("disk");
        d->done++;
    }
    return NULL;
}

static uint64_t disk(const char *kind, const char *device)
{
    int write = strstr(kind, "write") != NULL, random = strncmp(kind, "rand", 4) == 0;
    int threads = kind[strlen(kind) - 1] == '4' ? 4 : 1;
    int fd = open(device, O_RDWR | O_DIRECT);
    struct disk d[4];
    pthread_t id[4];
    uint64_t size, done = 0;
    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0)
        die(device);
    for (int i = 0; i < threads; i++) {
        d[i] = (struct disk){ .fd = fd, .write = write, .random = random, .size = size, .seed = 88172645463325252ull + i };
        pthread_create(&id[i], NULL, load_disk, &d[i]);
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(id[i], NULL);
        done += d[i].done;
    }
    if (write && !random && fdatasync(fd) < 0)
        die("fdatasync");
    return done * (random ? 1 : BIG);
}

static uint64_t tcp(const char *kind, const char *address, const char *port)
{
    static char buffer[1 << 17];
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
    int s = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    uint64_t done = 0, started;
    inet_pton(AF_INET, address, &to.sin_addr);
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(s, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect");
    // The server does what the first byte says.
    char wish = kind[3];
    if (write(s, &wish, 1) != 1)
        die("write");
    started = now();
    while (now() - started < limit) {
        ssize_t moved;
        if (wish == 'p')
            moved = write(s, &wish, 1) == 1 ? read(s, buffer, 1) : -1;
        else
            moved = wish == 's' ? write(s, buffer, sizeof buffer) : read(s, buffer, sizeof buffer);
        if (moved <= 0)
            die("socket");
        done += moved;
    }
    // What is sent counts when it has arrived.
    if (wish == 's' && (shutdown(s, SHUT_WR) < 0 || read(s, buffer, 1) < 0))
        die("end");
    close(s);
    return done;
}

int main(int count, char **words)
{
    if (count < 4)
        return 2;
    limit = strtoull(words[2], NULL, 10) * 1000000000ull;
    uint64_t started = now();
    uint64_t done = strncmp(words[1], "tcp", 3) == 0 ? tcp(words[1], words[3], words[4]) : disk(words[1], words[3]);
    printf("%llu %llu\n", (unsigned long long)done, (unsigned long long)(now() - started));
    return 0;
}
