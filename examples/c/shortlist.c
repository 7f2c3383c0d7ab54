#include "shortlist.h"

#include <stdlib.h>
#include <string.h>

enum { END_RECORD = 22, ENTRY = 46, LOCAL_HEADER = 30, NPY_PREAMBLE = 10 };

static size_t little_endian(const unsigned char *bytes, size_t width) {
    size_t value = 0;
    while (width--) value = value << 8 | bytes[width];
    return value;
}

static size_t number(const Numbers *numbers, size_t index) {
    return little_endian(numbers->data + index * numbers->width, numbers->width);
}

/* An .npy file of version 1: 10 bytes, a header that names the type, the numbers. */
static int open_npy(Numbers *out, const unsigned char *npy, size_t size) {
    if (size < NPY_PREAMBLE || memcmp(npy, "\x93NUMPY\x01", 7) != 0) return 0;
    size_t length = little_endian(npy + 8, 2), start = NPY_PREAMBLE + length;
    if (start > size || length < 15 || length > 1000) return 0;
    char header[1001] = {0};
    memcpy(header, npy + NPY_PREAMBLE, length);
    const char *type = strstr(header, "'descr': '");
    if (!type || (type[10] != '<' && type[10] != '|') || type[11] != 'u') return 0;
    out->width = (size_t)(type[12] - '0');
    if (out->width != 1 && out->width != 2 && out->width != 4 && out->width != 8) return 0;
    out->data = npy + start;
    out->count = (size - start) / out->width;
    return 1;
}

/* A member of a .zip whose members are stored as they are. */
static int open_member(Numbers *out, const unsigned char *zip, size_t size, const char *name) {
    if (size < END_RECORD) return 0;
    const unsigned char *end = zip + size - END_RECORD;
    size_t entry = little_endian(end + 16, 4);
    for (size_t count = little_endian(end + 10, 2); count > 0; --count) {
        if (entry + ENTRY > size) return 0;
        size_t name_length = little_endian(zip + entry + 28, 2), bytes = little_endian(zip + entry + 24, 4);
        size_t header = little_endian(zip + entry + 42, 4);
        if (entry + ENTRY + name_length > size || header + LOCAL_HEADER > size) return 0;
        if (name_length == strlen(name) && memcmp(zip + entry + ENTRY, name, name_length) == 0) {
            size_t start = header + LOCAL_HEADER + little_endian(zip + header + 26, 2);
            start += little_endian(zip + header + 28, 2);
            int stored = little_endian(zip + entry + 10, 2) == 0;
            return stored && start <= size && bytes <= size - start && open_npy(out, zip + start, bytes);
        }
        entry += ENTRY + name_length + little_endian(zip + entry + 30, 2) + little_endian(zip + entry + 32, 2);
    }
    return 0;
}

int shortlist_open(Shortlist *out, const unsigned char *npz, size_t size, size_t first, size_t source_size,
                   size_t target_size) {
    out->first = first;
    out->target_size = target_size;
    if (!open_member(&out->offsets, npz, size, "offsets.npy")) return 0;
    if (!open_member(&out->target_ids, npz, size, "target_ids.npy")) return 0;
    if (out->offsets.count != source_size + 1 || first > target_size) return 0;
    for (size_t index = 0; index < source_size; ++index) {
        if (number(&out->offsets, index) > number(&out->offsets, index + 1)) return 0;
    }
    for (size_t index = 0; index < out->target_ids.count; ++index) {
        if (number(&out->target_ids, index) >= target_size) return 0;
    }
    return number(&out->offsets, source_size) == out->target_ids.count;
}

size_t shortlist_candidates(const Shortlist *shortlist, const int64_t *source_ids, size_t count, int64_t *out) {
    unsigned char *chosen = calloc(shortlist->target_size, 1);
    if (!chosen) return 0;
    memset(chosen, 1, shortlist->first);
    for (size_t index = 0; index < count; ++index) {
        size_t source = (size_t)source_ids[index], end = number(&shortlist->offsets, source + 1);
        for (size_t place = number(&shortlist->offsets, source); place < end; ++place) {
            chosen[number(&shortlist->target_ids, place)] = 1;
        }
    }
    size_t found = 0;
    for (size_t id = 0; id < shortlist->target_size; ++id) {
        if (chosen[id]) out[found++] = (int64_t)id;
    }
    free(chosen);
    return found;
}
