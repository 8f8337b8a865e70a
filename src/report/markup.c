/* SPDX-License-Identifier: Apache-2.0 */
#include "report/markup.h"

#include <math.h>
#include <string.h>

/* Characters of a name: more than that many lose what lies between HEAD and TAIL of them. */
enum { LONG_NAME = 96, HEAD = 60, TAIL = 32 };

/* The character at *text, which moves behind it; 0 where it isn't UTF-8 (then by one byte). */
static uint32_t next_character(const unsigned char **text) {
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    const unsigned char *at = *text;
    const int n = *at < 0x80                  ? 0
                  : *at >= 0xc2 && *at < 0xe0 ? 1
                  : (*at & 0xf0) == 0xe0      ? 2
                  : (*at & 0xf8) == 0xf0      ? 3
                                              : -1;
    *text = at + 1;
    if (n < 0)
        return 0;
    uint32_t c = n == 0 ? *at : *at & (0x3fU >> n);
    for (int i = 1; i <= n; i++) { /* the NUL at the end is no continuation */
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (at[i] & 0x3f);
    }
    if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    *text = at + n + 1;
    return c;
}

/* What HTML forbids, and what would show a text in another order than it has. */
static bool is_unfit(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0xfdd0 && c < 0xfdf0) || (c & 0xfffe) == 0xfffe ||
           c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static void put_character(FILE *f, uint32_t c, const unsigned char *from, const unsigned char *to) {
    if (is_unfit(c))
        fputs("\xef\xbf\xbd", f);
    else if (c == '<')
        fputs("&lt;", f);
    else if (c == '>')
        fputs("&gt;", f);
    else if (c == '&')
        fputs("&amp;", f);
    else if (c == '"')
        fputs("&quot;", f);
    else if (c == '\'')
        fputs("&#39;", f);
    else
        fwrite(from, 1, (size_t)(to - from), f);
}

/* Characters first .. last - 1 of the text. */
static void put_part(FILE *f, const char *text, size_t first, size_t last) {
    const unsigned char *at = (const unsigned char *)text;
    for (size_t i = 0; i < last && *at != '\0'; i++) {
        const unsigned char *from = at;
        const uint32_t c = next_character(&at);
        if (i >= first)
            put_character(f, c, from, at);
    }
}

static size_t count_characters(const char *text) {
    size_t n = 0;
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; n++)
        (void)next_character(&at);
    return n;
}

void zq_markup_text(FILE *f, const char *text) {
    if (text != NULL)
        put_part(f, text, 0, SIZE_MAX);
}

void zq_markup_name(FILE *f, const char *name) {
    const size_t n = name == NULL ? 0 : count_characters(name);
    if (n == 0)
        fputs("(no name)", f);
    else if (n <= LONG_NAME)
        put_part(f, name, 0, n);
    else {
        put_part(f, name, 0, HEAD);
        fputs("\xe2\x80\xa6", f);
        put_part(f, name, n - TAIL, n);
    }
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void zq_markup_base64(FILE *f, size_t n, const unsigned char *bytes) {
    for (size_t i = 0; i < n; i += 3) {
        const size_t left = n - i;
        const uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                               (left > 2 ? bytes[i + 2] : 0);
        fputc(digits[group >> 18], f);
        fputc(digits[group >> 12 & 63], f);
        fputc(left > 1 ? digits[group >> 6 & 63] : '=', f);
        fputc(left > 2 ? digits[group & 63] : '=', f);
    }
}

static int digit_of(char c) {
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at == NULL ? -1 : (int)(at - digits);
}

bool zq_markup_read_base64(const char *text, size_t n_text, size_t n, uint8_t *out) {
    if (n_text != (n + 2) / 3 * 4)
        return false;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t group = 0;
        for (size_t k = 0; k < 4; k++) {
            const bool padding = k > n - i; /* a group of one byte has two digits, of two three */
            const int digit = padding ? (text[k] == '=' ? 0 : -1) : digit_of(text[k]);
            if (digit < 0)
                return false;
            group = group << 6 | (uint32_t)digit;
        }
        for (size_t k = 0; k < 3 && i + k < n; k++)
            out[i + k] = (uint8_t)(group >> (16 - 8 * k));
        text += 4;
    }
    return true;
}

/* Three digits, below 0.01 fewer, without an exponent: 0.001 <= x < 1000 (about). */
static int three_digits(double x, char buffer[ZQ_NUMBER]) {
    const int decimals = x >= 99.95 ? 0 : x >= 9.995 ? 1 : x >= 0.9995 ? 2 : x >= 0.09995 ? 3 : 4;
    return snprintf(buffer, ZQ_NUMBER, "%.*f", decimals, x);
}

char *zq_markup_number(double x, char buffer[ZQ_NUMBER]) {
    const double size = fabs(x);
    if (isnan(x))
        snprintf(buffer, ZQ_NUMBER, "\xe2\x80\x93");
    else if (!isfinite(x))
        snprintf(buffer, ZQ_NUMBER, "infinite");
    else if (size == 0)
        snprintf(buffer, ZQ_NUMBER, "0");
    else if (size >= 0.000995 && size < 1e5) {
        buffer[0] = '-';
        three_digits(size, buffer + (x < 0));
    } else {
        int exponent = (int)floor(log10(size));
        double mantissa = x / pow(10, exponent);
        if (fabs(mantissa) >= 9.95) {
            mantissa /= 10;
            exponent++;
        }
        snprintf(buffer, ZQ_NUMBER, "%.1fe%d", mantissa, exponent);
    }
    return buffer;
}

/* In thousands of the unit, at most the last one. */
static char *scaled(double n, const char *const *units, int n_units, char buffer[ZQ_NUMBER]) {
    int unit = 0;
    for (; n >= 999.5 && unit + 1 < n_units; unit++)
        n /= 1000;
    const int used = unit == 0 ? snprintf(buffer, ZQ_NUMBER, "%.0f", n) : three_digits(n, buffer);
    snprintf(buffer + used, (size_t)(ZQ_NUMBER - used), "%s", units[unit]);
    return buffer;
}

char *zq_markup_bytes(double n, char buffer[ZQ_NUMBER]) {
    static const char *const units[] = {" B", " KB", " MB", " GB"};
    return scaled(n, units, 4, buffer);
}

char *zq_markup_count(double n, char buffer[ZQ_NUMBER]) {
    static const char *const units[] = {"", " k", " M", " G", " T"};
    return scaled(n, units, 5, buffer);
}

char *zq_markup_share(double x, char buffer[ZQ_NUMBER]) {
    if (x > 0 && x < 0.0001)
        snprintf(buffer, ZQ_NUMBER, "&lt;0.01 %%");
    else
        snprintf(buffer, ZQ_NUMBER,
                 x == 0 || x == 1 ? "%.0f %%"
                 : x < 0.001      ? "%.2f %%"
                                  : "%.1f %%",
                 100 * x);
    return buffer;
}
