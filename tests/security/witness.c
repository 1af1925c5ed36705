/* Preloaded into every process of a test: writes down each name that is looked up, each address that is
   asked and each file that is opened to be written, and lets no look-up or connection succeed but to this
   machine itself. WITNESS names the file that it writes to. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void tell(const char *what, const char *which) {
    const char *file = getenv("WITNESS");
    char line[4096];
    if (!file) return;
    int length = snprintf(line, sizeof line, "%s %s\n", what, which);
    int there = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (there < 0) abort();
    syscall(SYS_write, there, line, length < (int)sizeof line ? length : (int)sizeof line - 1);
    syscall(SYS_close, there);
}

static int here(const char *name) {
    char own[256] = "";
    gethostname(own, sizeof own - 1);
    return !name || !*name || !strcmp(name, "localhost") || !strcmp(name, "::1") || !strncmp(name, "127.", 4)
        || !strcmp(name, "0.0.0.0") || !strcmp(name, "::") || !strcmp(name, own);
}

static int elsewhere(const struct sockaddr *to, char *text) {
    if (!to) return 0;
    if (to->sa_family == AF_INET) {
        inet_ntop(AF_INET, &((struct sockaddr_in *)to)->sin_addr, text, INET6_ADDRSTRLEN);
        return !here(text);
    }
    if (to->sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)to)->sin6_addr, text, INET6_ADDRSTRLEN);
        return !here(text) && strncmp(text, "::ffff:127.", 11);
    }
    return 0;
}

#define NEXT(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    if (here(name)) return NEXT(getaddrinfo, name, service, hints, found);
    tell("lookup", name);
    return EAI_FAIL;
}

struct hostent *gethostbyname(const char *name) {
    if (here(name)) return NEXT(gethostbyname, name);
    tell("lookup", name);
    return NULL;
}

int connect(int socket, const struct sockaddr *to, socklen_t size) {
    char text[INET6_ADDRSTRLEN];
    if (!elsewhere(to, text)) return NEXT(connect, socket, to, size);
    tell("connect", text);
    errno = ENETUNREACH;
    return -1;
}

ssize_t sendto(int socket, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    char text[INET6_ADDRSTRLEN];
    if (!elsewhere(to, text)) return NEXT(sendto, socket, data, size, flags, to, length);
    tell("send", text);
    errno = ENETUNREACH;
    return -1;
}

static void opened(int folder, const char *path, int flags) {
    char whole[4096];
    if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT)) return;
    if (*path == '/' || folder != AT_FDCWD || !getcwd(whole, sizeof whole - strlen(path) - 2)) {
        tell("write", path);
        return;
    }
    strcat(strcat(whole, "/"), path);
    tell("write", whole);
}

#define MODE va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list)

int open(const char *path, int flags, ...) { MODE; opened(AT_FDCWD, path, flags); return NEXT(open, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE; opened(AT_FDCWD, path, flags); return NEXT(open64, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE; opened(at, path, flags); return NEXT(openat, at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE; opened(at, path, flags); return NEXT(openat64, at, path, flags, mode); }
int creat(const char *path, mode_t mode) { opened(AT_FDCWD, path, O_WRONLY); return NEXT(creat, path, mode); }

static void streamed(const char *path, const char *mode) { if (strpbrk(mode, "wa+")) opened(AT_FDCWD, path, O_WRONLY); }
FILE *fopen(const char *path, const char *mode) { streamed(path, mode); return NEXT(fopen, path, mode); }
FILE *fopen64(const char *path, const char *mode) { streamed(path, mode); return NEXT(fopen64, path, mode); }

int mkdir(const char *path, mode_t mode) { opened(AT_FDCWD, path, O_WRONLY); return NEXT(mkdir, path, mode); }
