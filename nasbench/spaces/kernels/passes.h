/* What is done with the images: the parts that the forward and the backward pass share. */

#define TILE 64

/* Scratch memory of a thread that is kept from call to call. */
static V *NAME(scratch)(int place, int64_t vectors) { return scratch_bytes(place, vectors * (int64_t)sizeof(V)); }

/* What one pass over a fan works with. */
typedef struct {
    const Fan *fan;
    L l;
    int64_t margin, pitch, padded; /* of images: border, padded width, pixels with the border */
    PREPARED *prepared;            /* [operation][2] */
    PREPARED_TERM *terms;
} NAME(Pass);
#define PASS NAME(Pass)

static inline PREPARED *NAME(prepared)(const PASS *pass, int64_t operation, int number) {
    return pass->prepared + 2 * operation + number;
}
static inline V *NAME(z_of)(const PASS *pass, int64_t operation, int number, int64_t n, int64_t cluster) {
    const L *l = &pass->l;
    return (V *)pass->fan->operations[operation].z[number] + (n * l->total + cluster * l->groups) * l->pixels;
}
static inline const REAL *NAME(scale_of)(const PASS *pass, int64_t operation, int number) {
    const Operation *own = pass->fan->operations + operation;
    return number == own->repeats - 1 ? own->factors : 0;
}

static inline V *NAME(term_z)(const PASS *pass, int64_t t, int64_t n) {
    return (V *)pass->fan->terms[t].z + n * pass->l.groups * pass->l.pixels;
}

/* Set up; all lanes are 0 until they are known. */
static PASS NAME(begin)(const Fan *fan, PREPARED *prepared, PREPARED_TERM *terms) {
    PASS pass = {fan, NAME(lanes_of)(fan), 0, 0, 0, prepared, terms};
    const L *l = &pass.l;
    int64_t size = 5 * fan->num_terms * l->groups;
    for (int64_t o = 0; o < fan->num_operations; o++) {
        const Operation *own = fan->operations + o;
        int64_t reach = own->dilation * (own->kernel / 2);
        if (reach > pass.margin) pass.margin = reach;
        size += own->repeats * l->total * (2 * own->kernel * own->kernel * (own->dense ? l->inputs : 1) + 4 + 3 * l->inputs);
    }
    pass.pitch = fan->width + 2 * pass.margin + 1; /* one more: a stride of 2 may look there */
    pass.padded = pass.pitch * (fan->height + 2 * pass.margin + 1);
    V *next = NAME(scratch)(PREPARED_LANES, size);
    memset(next, 0, size * sizeof(V));
    for (int64_t t = 0; t < fan->num_terms; t++, next += 5 * l->groups) {
        int64_t g = l->groups;
        terms[t] = (PREPARED_TERM){next, next + g, next + 2 * g, next + 3 * g, next + 4 * g};
        for (int64_t i = 0; i < g; i++) terms[t].gain[i] += (REAL)1, terms[t].back[i] += (REAL)1;
    }
    for (int64_t o = 0; o < fan->num_operations; o++)
        for (int number = 0; number < fan->operations[o].repeats; number++) {
            const Operation *own = fan->operations + o;
            PREPARED *p = NAME(prepared)(&pass, o, number);
            int64_t taps = own->kernel * own->kernel * (own->dense ? l->inputs : 1);
            p->dense = own->dense, p->taps = taps, p->kernel = own->kernel, p->dilation = own->dilation, p->stride = number ? 1 : fan->stride;
            p->rows = own->rows, p->size = 0;
            for (int64_t edge = 0; edge < l->n; edge++) p->size += own->rows[edge] >= 0;
            p->kernels = next, next += l->total * taps;
            p->mirrored = next, next += l->total * taps;
            p->mean = next, next += l->total;
            p->bias = next, next += l->total;
            p->shift = next, next += l->total;
            p->gain = next, next += l->total;
            p->matrix = next, next += l->total * l->inputs;
            p->back = next, next += l->total * l->inputs;
            p->square = next, next += l->total * l->inputs;
            if (!p->dense) NAME(spread_kernels)(l, p, own->kernels[number]);
        }
    return pass;
}

/* Image n of the input in lanes, one slab for each group; `room` is for a copy, where one is needed. */
static const V *NAME(read_input)(const PASS *pass, V *room, int64_t n) {
    const Fan *fan = pass->fan;
    int64_t size = fan->height * fan->width;
    const REAL *image = (const REAL *)fan->x + n * size * fan->channels;
    if (NAME(is_in_lanes)(&pass->l, fan->x)) return (const V *)image;
    for (int64_t group = 0; group < pass->l.groups; group++)
        NAME(spread)(&pass->l, room + group * size, image, size, group);
    return room;
}

/* Its ReLU with a border of zeros. */
static void NAME(pad_input)(const PASS *pass, V *padded, const V *raw) {
    const Fan *fan = pass->fan;
    for (int64_t group = 0; group < pass->l.groups; group++)
        for (int64_t y = 0; y < fan->height; y++) {
            V *row = padded + group * pass->padded + (y + pass->margin) * pass->pitch + pass->margin;
            const V *from = raw + (group * fan->height + y) * fan->width;
            for (int64_t x = 0; x < fan->width; x++) row[x] = NAME(positive)(from[x], from[x]);
        }
}

/* A slab in the middle of a padded one; with `positive`, what is not is 0 there. */
static void NAME(pad_slab)(const PASS *pass, V *padded, const V *slab, int positive) {
    int64_t width = pass->l.out_width;
    for (int64_t y = 0; y < pass->l.out_height; y++) {
        V *to = padded + (y + pass->margin) * pass->pitch + pass->margin;
        const V *from = slab + y * width;
        if (positive)
            for (int64_t x = 0; x < width; x++) to[x] = NAME(positive)(from[x], from[x]);
        else
            memcpy(to, from, width * sizeof(V));
    }
}

/* Where the first tap of a convolution is in a padded slab. */
static inline int64_t NAME(corner)(const PASS *pass, const PREPARED *p) {
    int64_t skipped = pass->margin - p->dilation * (p->kernel / 2);
    return skipped * pass->pitch + skipped;
}

/* A tile of a cluster's z minus its mean, TILE pixels for each group. */
static inline void NAME(centre)(const L *l, V *tile, const V *z, const V *mean, int64_t first, int64_t count) {
    for (int64_t group = 0; group < l->groups; group++) {
        const V *from = z + group * l->pixels + first;
        V middle = mean[group], *to = tile + group * TILE;
        for (int64_t p = 0; p < count; p++) to[p] = from[p] - middle;
    }
}

/* Sizes of an ordinary convolution of one edge. */
static inline SIZE NAME(size_of)(const L *l) {
    return (SIZE){l->groups, l->groups, l->channels, l->out_height, l->out_width};
}

/* Ordinary convolution of a cluster from padded slabs into slabs, or with `add` onto them; rows and groups of the latter
 * lie so many pixels apart. */
static void NAME(convolve_dense)(const PASS *pass, V *out, int64_t row, int64_t slab, const V *padded, const V *matrices,
                                 const PREPARED *p, int64_t cluster, int add) {
    const L *l = &pass->l;
    int64_t k = p->kernel, per = l->groups * l->inputs;
    const V *own = matrices + cluster * k * k * per, *from = padded + NAME(corner)(pass, p);
    if (k == 3 && !l->packed) {
        SIZE size = NAME(size_of)(l);
        NAME(convolve_3x3)(&size, out, row, slab, from, pass->pitch, pass->padded, own, add);
        return;
    }
    if (!add) memset(out, 0, l->groups * l->pixels * sizeof(V)); /* a slab of its own, without a border */
    for (int64_t y = 0; y < l->out_height; y++)
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < k; j++)
                NAME(product)(l, out + y * row, slab, from + (y + i * p->dilation) * pass->pitch + j * p->dilation,
                              pass->padded, own + (i * k + j) * per, l->out_width);
}

/* Gradient of its weights, added to `parts` [k*k][groups][inputs]. */
static void NAME(correlate_dense)(const PASS *pass, const PREPARED *p, V *parts, const V *grads, const V *padded) {
    const L *l = &pass->l;
    int64_t k = p->kernel, per = l->groups * l->inputs;
    const V *from = padded + NAME(corner)(pass, p);
    if (k == 3 && !l->packed) {
        SIZE size = NAME(size_of)(l);
        NAME(correlate_3x3)(&size, parts, grads, l->out_width, l->pixels, from, pass->pitch, pass->padded);
        return;
    }
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++)
            for (int64_t y = 0; y < l->out_height; y++)
                NAME(outer)(l, parts + (i * k + j) * per, grads + y * l->out_width, l->pixels,
                            from + (y + i * p->dilation) * pass->pitch + j * p->dilation, pass->padded, l->out_width);
}

/* Mean [groups] and squares about it [groups] of one image's z. */
static void NAME(squares)(const L *l, V *parts, const V *z) {
    for (int64_t group = 0; group < l->groups; group++) {
        V sums[4] = {{0}}, squares[4] = {{0}};
        const V *from = z + group * l->pixels;
        for (int64_t p = 0; p < l->pixels; p++) sums[p % 4] += from[p];
        V mean = (sums[0] + sums[1] + sums[2] + sums[3]) / (REAL)l->pixels;
        for (int64_t p = 0; p < l->pixels; p++) squares[p % 4] += (from[p] - mean) * (from[p] - mean);
        parts[group] = mean, parts[l->groups + group] = squares[0] + squares[1] + squares[2] + squares[3];
    }
}

/* Convolution with kernels of a cluster, from padded slabs into z. */
static void NAME(convolve_cluster)(const PASS *pass, const PREPARED *p, V *z, const V *padded, int64_t cluster) {
    const L *l = &pass->l;
    if (p->dense) {
        NAME(convolve_dense)(pass, z, l->out_width, l->pixels, padded, p->kernels, p, cluster, 0);
        return;
    }
    for (int64_t group = 0; group < l->groups; group++)
        NAME(convolve)(z + group * l->pixels, l->out_width, padded + group * pass->padded + NAME(corner)(pass, p),
                       pass->pitch, p->kernels + (cluster * l->groups + group) * p->kernel * p->kernel, l->out_height,
                       l->out_width, (int)p->kernel, (int)p->stride, (int)p->dilation, 0);
}

/* Mean [groups] and moments [groups][inputs] about it of one image's z. */
static void NAME(moments)(const L *l, V *parts, const V *z, V *tile) {
    for (int64_t group = 0; group < l->groups; group++) {
        V sums[4] = {{0}};
        const V *from = z + group * l->pixels;
        int64_t p = 0;
        for (; p + 4 <= l->pixels; p += 4)
            for (int i = 0; i < 4; i++) sums[i] += from[p + i];
        for (; p < l->pixels; p++) sums[0] += from[p];
        parts[group] = (sums[0] + sums[1] + sums[2] + sums[3]) / (REAL)l->pixels;
    }
    memset(parts + l->groups, 0, l->groups * l->inputs * sizeof(V));
    for (int64_t first = 0; first < l->pixels; first += TILE) {
        int64_t count = l->pixels - first < TILE ? l->pixels - first : TILE;
        NAME(centre)(l, tile, z, parts, first, count);
        NAME(outer)(l, parts + l->groups, tile, TILE, tile, TILE, count);
    }
}

/* Slabs of one vector for each group, in a tile. */
static inline void NAME(fill)(const L *l, V *slabs, const V *values, int64_t first, int64_t count) {
    for (int64_t group = 0; group < l->groups; group++) {
        V value = values[group], *to = slabs + group * l->pixels + first;
        for (int64_t i = 0; i < count; i++) to[i] = value;
    }
}

/* Slabs of V z, normalised: the input of a second convolution before its ReLU. */
static void NAME(normalise)(const L *l, V *slabs, const PREPARED *p, const V *z, V *tile, int64_t cluster) {
    for (int64_t first = 0; first < l->pixels; first += TILE) {
        int64_t count = l->pixels - first < TILE ? l->pixels - first : TILE;
        NAME(centre)(l, tile, z, p->mean + cluster * l->groups, first, count);
        NAME(fill)(l, slabs, p->bias + cluster * l->groups, first, count);
        NAME(product)(l, slabs + first, l->pixels, tile, TILE, p->matrix + cluster * l->groups * l->inputs, count);
    }
}

/* Gradient of z, in slabs, from that of the normalised output, in slabs. */
static void NAME(back)(const L *l, V *slabs, const PREPARED *p, const V *grads, const V *z, V *tile, int64_t cluster) {
    if (p->dense) {
        for (int64_t group = 0; group < l->groups; group++) {
            int64_t at = cluster * l->groups + group;
            V gain = p->gain[at], square = p->square[at], shift = p->shift[at], mean = p->mean[at];
            for (int64_t i = group * l->pixels; i < (group + 1) * l->pixels; i++)
                slabs[i] = gain * grads[i] + square * (z[i] - mean) + shift;
        }
        return;
    }
    for (int64_t first = 0; first < l->pixels; first += TILE) {
        int64_t count = l->pixels - first < TILE ? l->pixels - first : TILE;
        NAME(centre)(l, tile, z, p->mean + cluster * l->groups, first, count);
        NAME(fill)(l, slabs, p->shift + cluster * l->groups, first, count);
        NAME(product)(l, slabs + first, l->pixels, grads + first, l->pixels, p->back + cluster * l->groups * l->inputs, count);
        NAME(product)(l, slabs + first, l->pixels, tile, TILE, p->square + cluster * l->groups * l->inputs, count);
    }
}

/* Gradient of a cluster's kernels from one image, added to `parts` [groups][k*k]. */
static void NAME(correlate_cluster)(const PASS *pass, const PREPARED *p, V *parts, const V *grads, const V *padded) {
    const L *l = &pass->l;
    int64_t taps = p->kernel * p->kernel;
    if (p->dense) {
        NAME(correlate_dense)(pass, p, parts, grads, padded);
        return;
    }
    for (int64_t group = 0; group < l->groups; group++)
        NAME(correlate)(parts + group * taps, grads + group * l->pixels, l->out_width,
                        padded + group * pass->padded + NAME(corner)(pass, p), pass->pitch, l->out_height,
                        l->out_width, (int)p->kernel, (int)p->stride, (int)p->dilation);
}
