/* The mixed edges that leave one state (fan.h), and chains of cells of chosen or ordinary operations (chain.h), forward
 * and backward.
 *
 * The method of the former is that of nasbench/spaces/separable.py and weighted_sum.py; here a z is the only thing that is written
 * to memory for an image, and everything else about the image is done while it is in the cache. Sums over images are
 * in a fixed order, so that results do not depend on the number of threads.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "chain.h"
#include "fan.h"

#define MAX_OPERATIONS 16
#define MAX_TERMS 3
#define CHUNKS 8 /* of images, whose gradients of kernels are added up before those of others are known */

/* Scratch memory of a thread, kept from call to call; the first ones are used by the thread that calls. */
enum { PARTS = 0, PREPARED_LANES, PARTS_OF_KERNELS, PARTS_OF_SHARES, PARTS_OF_TERMS, SUMS, LINKS_IN_LANES, PLACES_OF_LINKS, /* of one thread alone or of all */
       PADDED, HIDDEN, SLAB, OTHER_SLAB, GRADS, GRAD_X, TILES, TERM_SLABS, RAW, RAW_GRAD, PLACES };

static void *scratch_bytes(int place, int64_t bytes) {
    static _Thread_local struct { void *memory; int64_t bytes; } places[PLACES];
    if (places[place].bytes < bytes) {
        free(places[place].memory);
        bytes = (bytes + 4095) / 4096 * 4096;
        places[place].memory = aligned_alloc(4096, (size_t)bytes);
        if (!places[place].memory) abort();
        places[place].bytes = bytes;
    }
    return places[place].memory;
}

/* Memory for the matrices of a cluster. */
static void *claim(int64_t bytes) {
    void *memory = malloc((size_t)bytes);
    if (!memory) abort();
    return memory;
}

#define JOIN(name, suffix) name##_##suffix
#define JOINED(name, suffix) JOIN(name, suffix)
#define NAME(name) JOINED(name, SUFFIX)

#define REAL float
#define INDEX int32_t
#define SUFFIX float
#include "body.h"
#undef REAL
#undef INDEX
#undef SUFFIX
#define REAL double
#define INDEX int64_t
#define SUFFIX double
#include "body.h"
#undef REAL
#undef INDEX
#undef SUFFIX

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma,avx2")
#define REAL float
#define INDEX int32_t
#define SUFFIX float_avx512
#define MANY_REGISTERS
#include "body.h"
#undef MANY_REGISTERS
#undef REAL
#undef INDEX
#undef SUFFIX
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define REAL float
#define INDEX int32_t
#define SUFFIX float_avx2
#include "body.h"
#undef REAL
#undef INDEX
#undef SUFFIX
#pragma GCC pop_options
#define HAS_WIDE 1
#endif

/* A checksum of the sources that this was built from. */
#ifndef SOURCES
#define SOURCES 0
#endif
uint32_t nasbench_sources(void) { return (uint32_t)(SOURCES); }

/* For tests: no higher level than this is used. */
static int highest = 2;
void nasbench_limit_level(int level) { highest = level; }

/* 2: AVX-512, 1: AVX2, 0: what every machine has. */
int nasbench_level(void) {
#ifdef HAS_WIDE
    if (highest >= 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512bw"))
        return 2;
    if (highest >= 1 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

#define ENTRY(what, Given) \
    void nasbench_##what##_double(const Given *given) { what##_double(given); } \
    void nasbench_##what##_float(const Given *given) { \
        ENTRY_WIDE(what) \
        what##_float(given); \
    }
#ifdef HAS_WIDE
#define ENTRY_WIDE(what) \
    switch (nasbench_level()) { \
        case 2: what##_float_avx512(given); return; \
        case 1: what##_float_avx2(given); return; \
    }
#else
#define ENTRY_WIDE(what)
#endif
ENTRY(forward, Fan)
ENTRY(backward, Fan)
ENTRY(chain_forward, Chain)
ENTRY(chain_backward, Chain)
