#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
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

/* ---- Fields ------------------------------------------------------------------------------- */

#define LINE_MAX_BYTES 2048u

struct line {
    char   text[LINE_MAX_BYTES];
    size_t at;
    bool   quoted; /* between double quotes */
    bool   full;   /* the rest is left out */
};

/* Up to two bytes that belong together. Room is kept for a closing quote and the newline. */
static void put(struct line *line, const char *bytes, size_t n)
{
    line->full = line->full || line->at + n > LINE_MAX_BYTES - 2;
    if (!line->full) {
        memcpy(line->text + line->at, bytes, n);
        line->at += n;
    }
}

/* What comes from outside (a path, a certificate's name) must forge neither a field nor a line. */
static void put_clean(struct line *line, char c)
{
    if (line->quoted && (c == '"' || c == '\\')) {
        put(line, (const char[]){'\\', c}, 2);
    } else if (line->quoted && c == '\n') {
        put(line, "\\n", 2);
    } else {
        put(line, (unsigned char)c < 0x20 || c == 0x7f ? "?" : &c, 1);
    }
}

static bool is_plain(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] <= 0x20 || text[i] == 0x7f || text[i] == '"' || text[i] == '=') {
            return false;
        }
    }
    return n != 0;
}

/* @param whole it is all of a field's value: quotes are added when it needs them. */
static void put_text(struct line *line, const char *text, size_t n, bool whole)
{
    bool quote = whole && !line->quoted && !is_plain(text, n);
    if (quote) {
        put(line, "\"", 1);
        line->quoted = true;
    }
    for (size_t i = 0; i < n; i++) {
        put_clean(line, text[i]);
    }
    if (quote && !line->full) { /* else the end of the line closes it */
        put(line, "\"", 1);
        line->quoted = false;
    }
}

static void put_number(struct line *line, uint64_t value, uint32_t base, uint32_t width)
{
    char   digits[32];
    size_t at = sizeof(digits);
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (sizeof(digits) - at < width && at != 0) {
        digits[--at] = '0';
    }
    while (at != sizeof(digits)) {
        put(line, &digits[at++], 1);
    }
}

/* One "%…" of the format. printf itself cannot tell a value's quotes from the format's. */
struct spec {
    uint32_t width;   /* numbers: filled up with zeros */
    size_t   max;     /* strings: bytes at most */
    bool     is_long; /* l, ll, z: 64 bits */
    char     kind;
};

static const char *read_spec(const char *at, struct spec *ret_spec, va_list *args)
{
    *ret_spec = (struct spec){.max = SIZE_MAX};
    for (; *at >= '0' && *at <= '9'; at++) {
        ret_spec->width = ret_spec->width * 10 + (uint32_t)(*at - '0');
    }
    if (*at == '.') {
        at++;
        ret_spec->max = *at == '*' ? (size_t)va_arg(*args, int) : 0;
        at += *at == '*';
        for (; *at >= '0' && *at <= '9'; at++) {
            ret_spec->max = ret_spec->max * 10 + (size_t)(*at - '0');
        }
    }
    for (; *at == 'l' || *at == 'z'; at++) {
        ret_spec->is_long = true;
    }
    ret_spec->kind = *at;
    return at + 1;
}

static void put_value(struct line *line, const struct spec *spec, bool whole, va_list *args)
{
    if (spec->kind == 's') {
        const char *text = va_arg(*args, const char *);
        text = text == NULL ? "" : text;
        put_text(line, text, strnlen(text, spec->max), whole);
    } else if (spec->kind == 'd') {
        int64_t value = spec->is_long ? va_arg(*args, long long) : va_arg(*args, int);
        if (value < 0) {
            put(line, "-", 1);
        }
        put_number(line, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 10, spec->width);
    } else if (spec->kind == 'c') {
        put_clean(line, (char)va_arg(*args, int));
    } else if (spec->kind == '%') {
        put(line, "%", 1);
    } else if (spec->kind != 'u' && spec->kind != 'x') {
        put(line, "?", 1); /* a mistake of ours; no reason to end the process */
        line->full = true; /* the arguments behind it cannot be found */
    } else {
        uint64_t value =
            spec->is_long ? va_arg(*args, unsigned long long) : va_arg(*args, unsigned int);
        put_number(line, value, spec->kind == 'u' ? 10 : 16, spec->width);
    }
}

static void put_fields(struct line *line, const char *format, va_list *args)
{
    char before = ' ';
    for (const char *at = format; *at != 0;) {
        if (*at == '%' && line->full) {
            break;
        }
        if (*at == '%') {
            struct spec spec;
            at = read_spec(at + 1, &spec, args);
            put_value(line, &spec, before == '=' && (*at == ' ' || *at == 0), args);
            before = '%';
        } else {
            line->quoted = line->quoted != (*at == '"' && !line->full);
            before = *at;
            put(line, at++, 1);
        }
    }
    if (line->quoted) { /* the line was cut */
        line->text[line->at++] = '"';
    }
}

void rf_log(enum rf_log_level level, const char *event, const char *format, ...)
{
    if ((int)level < atomic_load_explicit(&level_now, memory_order_relaxed)) {
        return;
    }
    struct line     line = {.at = 0};
    struct timespec now;
    struct tm       utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    const char *node = atomic_load_explicit(&node_now, memory_order_relaxed);
    line.at = strftime(line.text, sizeof(line.text), "time=%Y-%m-%dT%H:%M:%S", &utc);
    int n =
        snprintf(line.text + line.at, sizeof(line.text) - line.at, ".%03dZ level=%s%s%s event=%s ",
                 (int)(now.tv_nsec / 1000000), level_names[level], node != NULL ? " node=" : "",
                 node != NULL ? node : "", event);
    line.at += n > 0 ? (size_t)n : 0;
    va_list args;
    va_start(args, format);
    put_fields(&line, format, &args);
    va_end(args);
    line.text[line.at++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line.text, line.at);
    (void)ignored; /* a log that cannot be written has nowhere to complain */
}
