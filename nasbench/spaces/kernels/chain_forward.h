/* The forward pass of a chain: one pass over the images for each state, and the statistics of what leaves it. */

/* Pixels [count][C] into slabs, and back. */
static void NAME(to_slabs)(const State *s, V *slabs, const REAL *pixels) {
    int64_t count = s->height * s->width, c = s->channels;
    for (int64_t group = 0; group < NAME(groups_of)(s); group++) {
        int64_t width = c - 16 * group < 16 ? c - 16 * group : 16;
        for (int64_t p = 0; p < count; p++) {
            V value = {0};
            if (width == 16) memcpy(&value, pixels + p * c + 16 * group, sizeof(V));
            else memcpy(&value, pixels + p * c + 16 * group, width * sizeof(REAL));
            slabs[group * count + p] = value;
        }
    }
}
static void NAME(to_pixels)(const State *s, REAL *pixels, const V *slabs) {
    int64_t count = s->height * s->width, c = s->channels;
    for (int64_t group = 0; group < NAME(groups_of)(s); group++) {
        int64_t width = c - 16 * group < 16 ? c - 16 * group : 16;
        for (int64_t p = 0; p < count; p++) {
            if (width == 16) memcpy(pixels + p * c + 16 * group, slabs + group * count + p, sizeof(V));
            else memcpy(pixels + p * c + 16 * group, slabs + group * count + p, width * sizeof(REAL));
        }
    }
}

/* Slabs with a border of zeros, without what is not positive. */
static void NAME(rectify)(const State *s, V *padded, const V *slabs, int64_t border) {
    int64_t pitch = s->width + 2 * border;
    memset(padded, 0, NAME(with_border)(NAME(groups_of)(s), s->height, s->width, border) * sizeof(V));
    for (int64_t group = 0; group < NAME(groups_of)(s); group++)
        for (int64_t y = 0; y < s->height; y++) {
            V *to = padded + (group * (s->height + 2 * border) + y + border) * pitch + border;
            const V *from = slabs + (group * s->height + y) * s->width;
            for (int64_t x = 0; x < s->width; x++) to[x] = NAME(positive)(from[x], from[x]);
        }
}

/* How many of an average's pixels there are, of three around a place or of two from a place on. */
static inline REAL NAME(three)(int64_t place, int64_t size) { return (REAL)(1 + (place > 0) + (place + 1 < size)); }
static inline REAL NAME(two)(int64_t place, int64_t size) { return (REAL)(1 + (2 * place + 1 < size)); }

/* sum of three rows of one group around row y, each divided by `three` of its own place if `back`. */
static inline void NAME(three_rows)(V *sums, const V *slab, int64_t y, int64_t height, int64_t width, int back) {
    int64_t first = y > 0 ? y - 1 : 0, last = y + 2 < height ? y + 2 : height;
    for (int64_t i = first; i < last; i++) {
        REAL share = (REAL)1 / (back ? NAME(three)(i, height) : NAME(three)(y, height));
        const V *from = slab + i * width;
        if (i == first)
            for (int64_t x = 0; x < width; x++) sums[x] = share * from[x];
        else
            for (int64_t x = 0; x < width; x++) sums[x] += share * from[x];
    }
}

/* Row y of the averages over 3x3 pixels of one group; `room` has a row's vectors and two more. */
static inline void NAME(mean_row)(V *out, V *room, const V *slab, int64_t y, int64_t height, int64_t width) {
    V *sums = room + 1;
    NAME(three_rows)(sums, slab, y, height, width, 0);
    sums[-1] = sums[width] = (V){0};
    for (int64_t x = 0; x < width; x++)
        out[x] = (sums[x - 1] + sums[x] + sums[x + 1]) * ((REAL)1 / NAME(three)(x, width));
}

/* The same back: row y of what reaches the averages' input. */
static inline void NAME(mean_row_back)(V *out, V *room, const V *slab, int64_t y, int64_t height, int64_t width) {
    V *sums = room + 1;
    NAME(three_rows)(sums, slab, y, height, width, 1);
    sums[-1] = sums[width] = (V){0};
    for (int64_t x = 0; x < width; x++) sums[x] *= (REAL)1 / NAME(three)(x, width);
    for (int64_t x = 0; x < width; x++) out[x] = sums[x - 1] + sums[x] + sums[x + 1];
}

/* Averages over 2x2 pixels of those there are, in slabs. */
static void NAME(halve)(const State *from, const State *to, V *out, const V *slabs) {
    for (int64_t group = 0; group < NAME(groups_of)(from); group++)
        for (int64_t y = 0; y < to->height; y++) {
            const V *rows = slabs + (group * from->height + 2 * y) * from->width;
            int64_t below = 2 * y + 1 < from->height ? from->width : 0;
            for (int64_t x = 0; x < to->width; x++) {
                int64_t beside = 2 * x + 1 < from->width;
                V sum = rows[2 * x];
                if (beside) sum += rows[2 * x + 1];
                if (below) sum += rows[below + 2 * x];
                if (beside && below) sum += rows[below + 2 * x + 1];
                out[(group * to->height + y) * to->width + x] = sum / (NAME(two)(y, from->height) * NAME(two)(x, from->width));
            }
        }
}

/* The taps of a link's convolution, from the corner of a slab with so wide a border. */
static TAPS NAME(taps_of)(const LINK *own, int64_t pitch, int64_t border) {
    TAPS taps = {own->taps, {0}, {0}};
    int64_t per = 16 * own->size.outputs * own->size.inputs, corner = border - own->side / 2;
    for (int64_t tap = 0; tap < own->taps; tap++) {
        taps.places[tap] = (corner + tap / own->side) * pitch + corner + tap % own->side;
        taps.matrices[tap] = own->kernels + tap * per;
    }
    return taps;
}

/* A state's sum of what enters it. */
static void NAME(sum_links)(const NET *net, int64_t s, int64_t n, V *slabs, V *room) {
    const State *state = net->chain->states + s;
    int64_t height = state->height, width = state->width;
    V *means = room + width + 2;
    for (int64_t group = 0; group < NAME(groups_of)(state); group++)
        for (int64_t y = 0; y < height; y++) {
            V *to = slabs + (group * height + y) * width, start = {0};
            for (int64_t i = net->arriving[s]; i < net->arriving[s + 1]; i++) {
                const LINK *own = net->links + net->order[i];
                if (own->taps) start += own->bias[group];
                if (own->link->kind == ONE) start += own->factor;
            }
            for (int64_t x = 0; x < width; x++) to[x] = start;
            for (int64_t i = net->arriving[s]; i < net->arriving[s + 1]; i++) {
                const LINK *own = net->links + net->order[i];
                if (own->taps) {
                    const V *z = NAME(link_z)(net, own, n) + (group * height + y) * width;
                    V gain = own->gain[group], mean = own->mean[group];
                    for (int64_t x = 0; x < width; x++) to[x] += gain * (z[x] - mean);
                    continue;
                }
                if (own->link->kind == ONE) continue;
                const V *from = NAME(state_of)(net, own->link->from, n) + group * height * width, factor = own->factor;
                if (own->link->kind == MEAN_3X3) NAME(mean_row)(means, room, from, y, height, width), from = means;
                else from += y * width;
                for (int64_t x = 0; x < width; x++) to[x] += factor * from[x];
            }
        }
}

/* Mean [groups] and squares about it [groups] of one image's z. */
static void NAME(moments_of_z)(const SIZE *s, V *parts, const V *z) {
    int64_t pixels = s->height * s->width;
    for (int64_t group = 0; group < s->outputs; group++, z += pixels) {
        V sums[4] = {{0}}, squares[4] = {{0}};
        for (int64_t p = 0; p < pixels; p++) sums[p % 4] += z[p];
        V mean = (sums[0] + sums[1] + sums[2] + sums[3]) / (REAL)pixels;
        for (int64_t p = 0; p < pixels; p++) squares[p % 4] += (z[p] - mean) * (z[p] - mean);
        parts[group] = mean, parts[s->outputs + group] = squares[0] + squares[1] + squares[2] + squares[3];
    }
}

/* One image's z of a link, from its state (`room` is for averages) or from that rectified, with a border. */
static void NAME(convolve_link)(const NET *net, const LINK *own, int64_t n, const V *state, const V *padded, V *room) {
    const State *from = net->chain->states + own->link->from, *to = net->chain->states + own->link->to;
    const SIZE *s = &own->size;
    int64_t border = net->margin[own->link->from], pitch = from->width + 2 * border, slab = pitch * (from->height + 2 * border);
    int64_t pixels = s->height * s->width, skipped = (border - NAME(border_of)(own->link)) * (pitch + 1);
    V *z = NAME(link_z)(net, own, n);
    if (own->link->kind != CONVOLUTION) {
        TAPS taps = NAME(taps_of)(own, s->width, 0);
        if (own->link->kind == SEPARABLE) room = NAME(inner_of)(own, n);
        if (own->link->kind == PROJECTION) NAME(halve)(from, to, room, state);
        for (int64_t group = 0; group < s->inputs && own->link->kind == SEPARABLE; group++)
            NAME(convolve)(room + group * pixels, s->width, padded + skipped + group * slab, pitch,
                           own->depthwise + group * own->link->kernel * own->link->kernel, s->height, s->width,
                           (int)own->link->kernel, (int)own->link->stride, (int)own->link->dilation, 0);
        NAME(convolve_taps_1)(s, z, s->width, 1, pixels, room, s->width, pixels, &taps, 0);
    } else if (own->taps == 9 && own->link->stride == 1) {
        NAME(convolve_3x3)(s, z, s->width, pixels, padded + skipped, pitch, slab, own->kernels, 0);
    } else {
        TAPS taps = NAME(taps_of)(own, pitch, border);
        if (own->link->stride == 1) NAME(convolve_taps_1)(s, z, s->width, 1, pixels, padded, pitch, slab, &taps, 0);
        else NAME(convolve_taps_2)(s, z, s->width, 1, pixels, padded, pitch, slab, &taps, 0);
    }
}

/* Whether any link that leaves a state needs it rectified. */
static int NAME(is_rectified)(const NET *net, int64_t s) {
    int found = 0;
    for (int64_t e = net->leaving[s]; e < net->leaving[s + 1]; e++)
        found |= net->links[e].link->kind == CONVOLUTION || net->links[e].link->kind == SEPARABLE;
    return found;
}

static void NAME(chain_forward)(const Chain *chain) {
    NET net = NAME(read_chain)(chain, 0);
    int64_t last = chain->num_states - 1;
#pragma omp parallel num_threads((int)chain->threads)
    {
        V *padded = NAME(scratch)(PADDED, net.padded), *slabs = NAME(scratch)(SLAB, net.slab);
        V *room = NAME(scratch)(RAW, 3 * net.slab + 2); /* rows for averages, or a slab */
#pragma omp for schedule(dynamic)
        for (int64_t e = 0; e < chain->num_links; e++) {
            for (int64_t group = 0; group < net.links[e].size.outputs && net.links[e].taps; group++)
                NAME(spread_link)(net.links + e, group, 0);
            if (net.links[e].link->kind == SEPARABLE) NAME(spread_depthwise)(net.links + e, 0);
        }
        for (int64_t s = 0; s <= last; s++) {
            const State *state = chain->states + s;
            int rectified = NAME(is_rectified)(&net, s);
            int64_t size = state->height * state->width * state->channels;
#pragma omp for schedule(static)
            for (int64_t n = 0; n < chain->batch; n++) {
                V *values = s < last ? NAME(state_of)(&net, s, n) : slabs;
                if (s > 0) NAME(sum_links)(&net, s, n, values, room);
                else if (state->values != chain->x) NAME(to_slabs)(state, values, (const REAL *)chain->x + n * size);
                if (s == last) NAME(to_pixels)(state, (REAL *)chain->output + n * size, values);
                if (rectified) NAME(rectify)(state, padded, values, net.margin[s]);
                for (int64_t e = net.leaving[s]; e < net.leaving[s + 1]; e++) {
                    LINK *own = net.links + e;
                    if (!own->taps) continue;
                    NAME(convolve_link)(&net, own, n, values, padded, room);
                    if (own->link->norm == BATCH || own->link->norm == MOVING)
                        NAME(moments_of_z)(&own->size, own->parts + 2 * n * own->size.outputs, NAME(link_z)(&net, own, n));
                }
            }
#pragma omp for schedule(dynamic)
            for (int64_t e = net.leaving[s]; e < net.leaving[s + 1]; e++)
                if (net.links[e].link->norm) NAME(know_link)(&net, net.links + e);
        }
    }
}
