#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* Set once at start and by `log-level`; read by every thread. */
static _Atomic int           level_now = RF_LOG_INFO;
static _Atomic(const char *) node_now;

void rf_log_setup(enum rf_log_level level, const char *node)
{
    atomic_store(&level_now, (int)level);
    atomic_store(&node_now, node);
}

int rf_log_level_parse(const char *text)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

void rf_log(enum rf_log_level level, const char *event, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&level_now, memory_order_relaxed)) {
        return;
    }
    char            line[2048];
    struct timespec now;
    struct tm       utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    const char *node = atomic_load_explicit(&node_now, memory_order_relaxed);
    size_t      at = strftime(line, sizeof(line), "time=%Y-%m-%dT%H:%M:%S", &utc);
    int         n = snprintf(line + at, sizeof(line) - at, ".%03dZ level=%s%s%s event=%s ",
                             (int)(now.tv_nsec / 1000000), level_names[level], node != NULL ? " node=" : "",
                     node != NULL ? node : "", event);
    at += n > 0 ? (size_t)n : 0;
    va_list args;
    va_start(args, format);
    n = vsnprintf(line + at, sizeof(line) - at - 1, format, args);
    va_end(args);
    at += n > 0 ? (size_t)n : 0;
    if (at > sizeof(line) - 2) {
        at = sizeof(line) - 2;
    }
    /* What comes from outside (a key, a certificate's name) must not forge a line of its own. */
    for (size_t i = 0; i < at; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) {
            line[i] = '?';
        }
    }
    line[at++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, at);
    (void)ignored; /* a log that cannot be written has nowhere to complain */
}
