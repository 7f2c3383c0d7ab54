/* The target ids that a source sentence may need. docs/bundle-format.md, "The shortlist". */

#ifndef SHORTLIST_H
#define SHORTLIST_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const unsigned char *data;
    size_t count, width; /* numbers, and bytes of each */
} Numbers;

typedef struct {
    Numbers offsets, target_ids;
    size_t first, target_size;
} Shortlist;

/* Finds the arrays in the bytes of shortlist.npz, which must stay where they are; returns 0 if they are not there or do
 * not fit vocabularies of these sizes. */
int shortlist_open(Shortlist *out, const unsigned char *npz, size_t size, size_t first, size_t source_size,
                   size_t target_size);

/* Writes the candidates of a sentence, ascending, into `out`, which has room for `target_size`; returns how many. */
size_t shortlist_candidates(const Shortlist *shortlist, const int64_t *source_ids, size_t count, int64_t *out);

#endif
