/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdlib.h>
#include <string.h>

/* An argument as a shell would take it again; at most 4 bytes for each of it and 3 more. */
static char *quote(const char *argument, char *to) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
    if (argument[0] != '\0' && argument[strspn(argument, plain)] == '\0')
        return stpcpy(to, argument);
    *to++ = '\'';
    for (; *argument != '\0'; argument++)
        if (*argument == '\'')
            to = stpcpy(to, "'\\''");
        else
            *to++ = *argument;
    return stpcpy(to, "'");
}

char *cli_command_line(int argc, char **argv) {
    size_t n = sizeof "zeroq";
    for (int i = 1; i < argc; i++)
        n += 4 * strlen(argv[i]) + 3;
    char *line = malloc(n);
    char *end = line == NULL ? NULL : stpcpy(line, "zeroq");
    for (int i = 1; i < argc && line != NULL; i++) {
        *end++ = ' ';
        end = quote(argv[i], end);
    }
    return line;
}
