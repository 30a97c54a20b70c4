/* Vectors of 16 lanes, and how channels lie in them.
 *
 * A cluster is what is computed together: one edge whose C channels fill ceil(C / 16) groups of 16 lanes, or, where C
 * is 1, 2, 4 or 8, the 16 / C edges that share one group. A slab is one group of one image: [pixels][16].
 *
 * In lanes, a C x C matrix M of every edge is [group][input j][lane]: M[c][j] of the lane's edge and channel c.
 */

typedef REAL NAME(Vector) __attribute__((vector_size(16 * sizeof(REAL)), aligned(64), may_alias));
typedef INDEX NAME(Mask) __attribute__((vector_size(16 * sizeof(REAL)), aligned(64)));
#define V NAME(Vector)

/* A vector, 0 where another one is not positive; what is not a number stays. */
static inline V NAME(positive)(V value, V seen) {
    return (V)((NAME(Mask))value & ~(NAME(Mask))(seen <= 0));
}

/* Sizes that follow from a fan. */
typedef struct {
    int64_t n, channels, packed, groups, clusters, inputs, pixels, out_height, out_width, total;
} NAME(Lanes);
#define L NAME(Lanes)

static L NAME(lanes_of)(const Fan *fan) {
    L l;
    int64_t c = fan->channels;
    l.n = fan->edges;
    l.channels = c;
    l.packed = c < 16 && 16 % c == 0 ? 16 / c : 0;
    l.groups = l.packed ? 1 : (c + 15) / 16;
    l.clusters = l.packed ? (l.n + l.packed - 1) / l.packed : l.n;
    l.inputs = l.packed ? c : 16 * l.groups;
    l.out_height = (fan->height + fan->stride - 1) / fan->stride;
    l.out_width = (fan->width + fan->stride - 1) / fan->stride;
    l.pixels = l.out_height * l.out_width;
    l.total = l.clusters * l.groups;
    return l;
}

/* The edge and the channel of a lane of a cluster's group; 0 where the lane is empty. */
static inline int NAME(lane)(const L *l, int64_t cluster, int64_t group, int64_t lane, int64_t *edge, int64_t *channel) {
    *edge = l->packed ? cluster * l->packed + lane / l->channels : cluster;
    *channel = l->packed ? lane % l->channels : 16 * group + lane;
    return *edge < l->n && *channel < l->channels;
}

/* Whether any edge of a cluster has the operation. */
static inline int NAME(is_live)(const L *l, int64_t cluster, const int64_t *rows) {
    int64_t first = l->packed ? cluster * l->packed : cluster, last = l->packed ? first + l->packed : first + 1;
    for (int64_t edge = first; edge < last && edge < l->n; edge++)
        if (rows[edge] >= 0) return 1;
    return 0;
}

/* Copy pixels [count][C] of one tensor into all edges' lanes of a group. */
static inline void NAME(spread)(const L *l, V *to, const REAL *from, int64_t count, int64_t group) {
    int64_t c = l->channels;
    if (l->packed) {
        for (int64_t p = 0; p < count; p++)
            for (int64_t e = 0; e < l->packed; e++) memcpy((REAL *)(to + p) + e * c, from + p * c, c * sizeof(REAL));
        return;
    }
    int64_t width = c - 16 * group < 16 ? c - 16 * group : 16;
    for (int64_t p = 0; p < count; p++) {
        if (width == 16) {
            memcpy(to + p, from + p * c + 16 * group, sizeof(V));
        } else {
            to[p] = (V){0};
            memcpy(to + p, from + p * c + 16 * group, width * sizeof(REAL));
        }
    }
}

/* Add what is in all edges' lanes up, and write it to pixels [count][C]. */
static inline void NAME(fold)(const L *l, REAL *to, const V *from, int64_t count, int64_t group) {
    int64_t c = l->channels;
    if (!l->packed) {
        int64_t width = c - 16 * group < 16 ? c - 16 * group : 16;
        for (int64_t p = 0; p < count; p++) {
            if (width == 16) memcpy(to + p * c + 16 * group, from + p, sizeof(V));
            else memcpy(to + p * c + 16 * group, from + p, width * sizeof(REAL));
        }
        return;
    }
    for (int64_t p = 0; p < count; p++) {
        const REAL *lanes = (const REAL *)(from + p);
        for (int64_t j = 0; j < c; j++) {
            REAL sum = 0;
            for (int64_t e = 0; e < l->packed; e++) sum += lanes[e * c + j];
            to[p * c + j] = sum;
        }
    }
}

/* Whether pixels of a tensor lie in memory as they lie in lanes. */
static inline int NAME(is_in_lanes)(const L *l, const REAL *tensor) {
    return l->channels == 16 && tensor && (uintptr_t)tensor % 64 == 0;
}

/* Copy pixels of the edges' own tensors [pixels][C] into a cluster's group. */
static inline void NAME(gather)(const L *l, V *to, const REAL *const *from, int64_t first, int64_t count,
                                int64_t cluster, int64_t group) {
    int64_t c = l->channels;
    if (!l->packed) {
        const REAL *source = from[cluster];
        if (source) NAME(spread)(l, to, source + first * c, count, group);
        else memset(to, 0, count * sizeof(V));
        return;
    }
    memset(to, 0, count * sizeof(V));
    for (int64_t e = 0; e < l->packed && cluster * l->packed + e < l->n; e++) {
        const REAL *source = from[cluster * l->packed + e];
        if (!source) continue;
        for (int64_t p = 0; p < count; p++)
            memcpy((REAL *)(to + p) + e * c, source + (first + p) * c, c * sizeof(REAL));
    }
}

/* The other way round. */
static inline void NAME(scatter)(const L *l, REAL *const *to, const V *from, int64_t first, int64_t count,
                                 int64_t cluster, int64_t group) {
    int64_t c = l->channels;
    if (!l->packed) {
        NAME(fold)(l, to[cluster] + first * c, from, count, group);
        return;
    }
    for (int64_t e = 0; e < l->packed && cluster * l->packed + e < l->n; e++) {
        REAL *target = to[cluster * l->packed + e];
        for (int64_t p = 0; p < count; p++)
            memcpy(target + (first + p) * c, (const REAL *)(from + p) + e * c, c * sizeof(REAL));
    }
}

/* Lanes of numbers that every edge has for itself [n]. */
static inline V NAME(of_edges)(const L *l, const REAL *numbers, int64_t cluster) {
    V lanes = {0};
    int64_t edge, channel;
    for (int64_t i = 0; i < 16; i++)
        if (NAME(lane)(l, cluster, 0, i, &edge, &channel) || (!l->packed && edge < l->n)) lanes[i] = numbers[edge];
    return lanes;
}
