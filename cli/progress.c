/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

static bool line_is_drawn;
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal_number) {
    (void)signal_number;
    interrupted = 1;
}

bool cli_progress_wanted(void) {
    return isatty(STDERR_FILENO) == 1;
}

void cli_progress_clear(void) {
    if (line_is_drawn)
        fprintf(stderr, "\r\033[K");
    line_is_drawn = false;
}

/* user: the quiet flag. Also the place where Ctrl-C becomes a cancelled job, which leaves no half-written
 * file. */
int cli_progress(void *user, const char *stage, double done) {
    const bool *quiet = user;
    static bool installed;
    if (!installed) {
        struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};
        sigaction(SIGINT, &action, NULL);
        installed = true;
    }
    if (!*quiet && cli_progress_wanted()) {
        enum { WIDTH = 30 };
        char bar[WIDTH + 1];
        for (int i = 0; i < WIDTH; i++)
            bar[i] = i < (int)(done * WIDTH + 0.5) ? '#' : '.';
        bar[WIDTH] = '\0';
        fprintf(stderr, "\r\033[K%-12s [%s] %3.0f %%", stage, bar, 100 * done);
        fflush(stderr);
        line_is_drawn = true;
    }
    return interrupted != 0;
}

char *cli_bytes(double bytes, char buffer[32]) {
    if (bytes >= 1e6)
        snprintf(buffer, 32, "%.2f MB", bytes / 1e6);
    else
        snprintf(buffer, 32, "%.1f KB", bytes / 1e3);
    return buffer;
}
