/* Structured logging in logfmt: one line per event, written by a sink of the host.
 * Call it where an error is handled, once. The line says what, why and what to do.
 * Thread: any. Blocks: only as long as the sink's write(2). */
#ifndef RF_BASE_LOG_H
#define RF_BASE_LOG_H

enum rf_log_level { RF_LOG_DEBUG, RF_LOG_INFO, RF_LOG_WARN, RF_LOG_ERROR };

/* @param event short name in snake_case; @param format the remaining fields, logfmt: key=value. Of
 * printf it knows %s with a precision, and %d, %u, %x with l, ll, z and a width. A string that is all
 * of a value is quoted when it needs to be; within quotes of the format, quotes, backslashes and
 * newlines are escaped. Other control characters are replaced. A long line is cut. */
void rf_log(enum rf_log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Sets what is printed and the node name that every line carries (borrowed; may be NULL). */
void rf_log_setup(enum rf_log_level level, const char *node);
/* Parses debug|info|warn|error; returns -1 for anything else. */
int rf_log_level_parse(const char *text);

#endif
